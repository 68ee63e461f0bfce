package web

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/policy"
)

const (
	promotionsPage = 50
	// maxReads is how often a page of promotions asks again to fill up what the caller
	// may not see. A page may be short although there are more.
	maxReads = 10
	// maxCursor bounds where a list is asked to go on, in bytes.
	maxCursor = 512
)

// promotionRow is a promotion in a list.
type promotionRow struct {
	promote.Promotion
	Badge   badge
	Outcome string
	SeesTo  bool
}

func (q *query) row(p promote.Promotion) promotionRow {
	return promotionRow{Promotion: p, Badge: stateBadge(p.State), Outcome: outcome(p), SeesTo: q.sees(p.To, p.Repository)}
}

func (q *query) rows(promotions []promote.Promotion) []promotionRow {
	rows := make([]promotionRow, len(promotions))
	for i, p := range promotions {
		rows[i] = q.row(p)
	}
	return rows
}

// cursor is where a list goes on, as the address says.
func (q *query) cursor(key string) (string, error) {
	last := q.r.URL.Query().Get(key)
	if len(last) > maxCursor {
		return "", fmt.Errorf("%w: %s has %d bytes", oci.ErrRequestInvalid, key, len(last))
	}
	return last, nil
}

// promotions reads n promotions that the caller may see. It never asks for more than are
// still wanted, so that next is always where the last one that was looked at ends.
func (q *query) promotions(ctx context.Context, filter promote.Filter, last string, n int) (page []promote.Promotion, next string, err error) {
	next = last
	for range maxReads {
		read, after, err := q.Gate.Promotions(ctx, filter, next, n-len(page))
		if err != nil {
			return nil, "", fmt.Errorf("promotions: %w", err)
		}
		for _, p := range read {
			if q.sees(p.From, p.Repository) {
				page = append(page, p)
			}
		}
		next = after
		if next == "" || len(page) >= n {
			break
		}
	}
	return page, next, nil
}

type promotionListView struct {
	Rows   []promotionRow
	Filter promote.Filter
	First  bool
	Next   string // the address of the next page
	States []stateLink
}

// stateLink is one way to narrow the list.
type stateLink struct {
	State promote.State
	Label string
}

func stateLinks() []stateLink {
	return []stateLink{{"", "all"}, {promote.Succeeded, "promoted"}, {promote.Failed, "refused"}, {promote.Errored, "undecided"}, {promote.Running, "under way"}}
}

func (q *query) promotionList() (result, error) {
	values := q.r.URL.Query()
	view := promotionListView{
		Filter: promote.Filter{Repository: values.Get("repository"), To: values.Get("to"), State: promote.State(values.Get("state"))},
		States: stateLinks(),
	}
	if f := view.Filter; f.State != "" && f.State != promote.Pending && !slices.ContainsFunc(view.States, func(l stateLink) bool { return l.State == f.State }) {
		return result{}, fmt.Errorf("%w: state %q", oci.ErrRequestInvalid, f.State)
	}
	if name := view.Filter.Repository; name != "" && oci.CheckName(name) != nil {
		return result{}, fmt.Errorf("%w: repository %q", oci.ErrRequestInvalid, name)
	}
	if to := view.Filter.To; to != "" && q.findTier(to) == nil {
		return result{}, fmt.Errorf("%w: tier %q", oci.ErrRequestInvalid, to)
	}
	last, err := q.cursor("last")
	if err != nil {
		return result{}, err
	}
	page, next, err := q.promotions(q.r.Context(), view.Filter, last, promotionsPage)
	if err != nil {
		return result{}, err
	}
	view.Rows, view.First = q.rows(page), last == ""
	if next != "" {
		values.Set("last", next)
		view.Next = "?" + values.Encode()
	}
	return result{template: "promotions", title: "Promotions", section: "promotions", body: view}, nil
}

type promotionView struct {
	promotionRow
	Rules    []ruleRow
	Held     int
	Policy   string // what became of the policy since; empty: it is in force
	SeesRule bool   // the caller may read the policy
}

// ruleRow is a rule of a verdict with how it came out.
type ruleRow struct {
	policy.Rule
	Badge badge
}

func newRuleRow(rule policy.Rule) ruleRow {
	switch {
	case rule.Mode == policy.Off:
		return ruleRow{rule, badge{Kind: "idle", Label: "off"}}
	case rule.Allowed:
		return ruleRow{rule, badge{Kind: "ok", Label: "held"}}
	case rule.Mode == policy.Warn:
		return ruleRow{rule, badge{Kind: "warn", Label: "warned"}}
	}
	return ruleRow{rule, badge{Kind: "no", Label: "not held"}}
}

func (q *query) promotion(id string) (result, error) {
	ctx := q.r.Context()
	p, err := q.Gate.Promotion(ctx, id)
	if err != nil {
		return result{}, fmt.Errorf("promotion %q: %w", id, err)
	}
	if !q.sees(p.From, p.Repository) {
		return result{}, fmt.Errorf("%w: %s", oci.ErrPromotionUnknown, id)
	}
	view := promotionView{promotionRow: q.row(p)}
	if p.Verdict != nil {
		for _, rule := range p.Verdict.Rules {
			row := newRuleRow(rule)
			if row.Badge.Kind == "ok" {
				view.Held++
			}
			view.Rules = append(view.Rules, row)
		}
		if view.SeesRule = q.readsPolicy(p.Verdict.Policy.Name); view.SeesRule {
			if view.Policy, err = q.policySince(ctx, p.Verdict.Policy); err != nil {
				return result{}, err
			}
		}
	}
	title := fmt.Sprintf("%s: %s to %s, %s", p.Repository, p.From, p.To, view.Badge.Label)
	return result{template: "promotion", title: title, section: "promotions", body: view}, nil
}

// policySince says what became of the policy that a verdict was reached under.
func (q *query) policySince(ctx context.Context, used policy.Identity) (string, error) {
	now, err := q.Gate.Policy(ctx, used.Name)
	switch {
	case errors.Is(err, oci.ErrPolicyUnknown):
		return "no longer in force", nil
	case err != nil:
		return "", fmt.Errorf("policy %q: %w", used.Name, err)
	case now.Digest != used.Digest:
		return "changed since", nil
	}
	return "", nil
}
