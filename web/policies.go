package web

import (
	"context"
	"fmt"
	"slices"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
)

const policiesPage = 100

type policyListView struct {
	Policies []promote.PolicyInfo
	First    bool
	Next     string
}

// policies lists those that the caller may read.
func (q *query) policies(ctx context.Context) ([]promote.PolicyInfo, error) {
	all, err := q.Gate.Policies(ctx)
	if err != nil {
		return nil, fmt.Errorf("policies: %w", err)
	}
	return slices.DeleteFunc(slices.Clone(all), func(p promote.PolicyInfo) bool { return !q.readsPolicy(p.Name) }), nil
}

func (q *query) policyList() (result, error) {
	last, err := q.cursor("last")
	if err != nil {
		return result{}, err
	}
	all, err := q.policies(q.r.Context())
	if err != nil {
		return result{}, err
	}
	all = slices.DeleteFunc(all, func(p promote.PolicyInfo) bool { return p.Name <= last && last != "" })
	view := policyListView{Policies: all, First: last == ""}
	if len(all) > policiesPage {
		view.Policies = all[:policiesPage]
		view.Next = more("last", all[policiesPage-1].Name)
	}
	return result{template: "policies", title: "Policies", section: "policies", body: view}, nil
}

func (q *query) policy(name string) (result, error) {
	if !q.readsPolicy(name) {
		return result{}, fmt.Errorf("%w: %s", oci.ErrPolicyUnknown, name)
	}
	info, err := q.Gate.Policy(q.r.Context(), name)
	if err != nil {
		return result{}, fmt.Errorf("policy %q: %w", name, err)
	}
	return result{template: "policy", title: "Policy " + name, section: "policies", body: info}, nil
}
