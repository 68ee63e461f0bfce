package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/ledger"
)

// told is an event in words: what the actor did, and why and on what grounds.
type told struct {
	mark, style string
	what        string
	details     []string
}

// tell words an event. One of a type that this program does not know is told by its type.
func tell(e tiers.Event) told {
	place := e.Tier + "/" + e.Repository
	it := place + "@" + short(e.Digest)
	switch e.Type {
	case tiers.EventBlobPushed:
		return told{what: fmt.Sprintf("pushed blob %s of %s to %s", short(e.Digest), bytesText(e.Size), place)}
	case tiers.EventBlobMounted:
		return told{what: fmt.Sprintf("mounted blob %s from %s to %s", short(e.Digest), e.From, place)}
	case tiers.EventBlobDeleted:
		return told{what: fmt.Sprintf("deleted blob %s from %s", short(e.Digest), place), details: why(e.Cause)}
	case tiers.EventManifestPushed:
		return told{what: "pushed " + tagged(it, append(e.Tags, e.Tag)), details: kindOf(e)}
	case tiers.EventManifestDeleted:
		return told{what: "deleted " + tagged(it, e.Tags), details: why(e.Cause)}
	case tiers.EventTagged:
		return told{what: fmt.Sprintf("set tag %s:%s to %s", place, e.Tag, short(e.Digest)), details: was(e.Previous)}
	case tiers.EventUntagged:
		return told{what: fmt.Sprintf("deleted tag %s:%s", place, e.Tag), details: was(e.Previous)}
	case tiers.EventPromoted, tiers.EventRefused, tiers.EventErrored:
		return tellPromotion(e)
	case tiers.EventWaiting:
		return told{mark: "…", style: amber, what: fmt.Sprintf("asked that %s rise to %s: it waits for approvals", risen(e), e.Tier),
			details: []string{"promotion " + e.Cause, "policy " + shortPolicy(e.Policy)}}
	case tiers.EventStanding:
		return tellStanding(e)
	case tiers.EventPolicySet:
		return told{what: fmt.Sprintf("put policy %s in force for %s: %s", e.Policy, e.Tier, short(e.Digest)), details: was(e.Previous)}
	case tiers.EventQuarantined:
		return tellQuarantine(e)
	case tiers.EventQuarantineLifted:
		return told{mark: "✓", style: green, what: fmt.Sprintf("lifted the quarantine of %s", short(e.Digest)), details: why(e.Cause)}
	case tiers.EventRevoked, tiers.EventRevocationLifted, tiers.EventRedecided:
		return tellRevocation(e)
	case tiers.EventRepaired:
		return tellRepair(e)
	case ledger.EventKeyChanged:
		return told{what: "signs the ledger with another key from here on", details: []string{e.Cause}}
	}
	return told{what: fmt.Sprintf("%s: %s", e.Type, strings.Trim(it, "/@")), details: why(e.Cause)}
}

// tellQuarantine says what was put in quarantine, why and until when.
func tellQuarantine(e tiers.Event) told {
	t := told{mark: "!", style: red, what: fmt.Sprintf("put %s in quarantine", short(e.Digest)), details: why(e.Cause)}
	var q tiers.Quarantine
	if err := json.Unmarshal(e.Body, &q); err == nil && !q.ExpiresAt.IsZero() {
		t.details = append(t.details, "until "+q.ExpiresAt.Local().Format("2006-01-02 15:04:05"))
	}
	return t
}

// tellRevocation says what counts no more, or again, and why.
func tellRevocation(e tiers.Event) told {
	var r promote.Revocation
	what := "evidence"
	if err := json.Unmarshal(e.Body, &r); err == nil {
		what = revokedWhat(r.Kind, r.Value, r.Issuer)
	}
	switch e.Type {
	case tiers.EventRevocationLifted:
		return told{mark: "✓", style: green, what: "lifted the revocation of " + what, details: why(e.Cause)}
	case tiers.EventRedecided:
		d := r.Redecision
		return told{what: "had decided anew what rested on " + what, details: []string{fmt.Sprintf("%s of %d rested on it: %d changed, %d put in quarantine, %d passed again",
			count(d.Rested, "artifact"), d.Decided, d.Changed, d.Quarantined, d.Restored)}}
	}
	t := told{mark: "!", style: red, what: "revoked " + what, details: why(e.Cause)}
	if of := revokedRange(r.From, r.Until); of != "" {
		t.details = append(t.details, "where it was signed "+of)
	}
	return t
}

// tellRepair says what a check has found and mended.
func tellRepair(e tiers.Event) told {
	var f tiers.Finding
	if err := json.Unmarshal(e.Body, &f); err != nil || f.Message == "" {
		return told{what: "mended " + e.Cause, details: []string{"what it was cannot be read"}}
	}
	var where string
	switch {
	case e.Repository != "":
		where = " of " + e.Tier + "/" + e.Repository
	case f.Key != "":
		where = " at " + f.Key
	}
	return told{what: "mended " + e.Cause + where, details: bounded([]string{f.Message})}
}

func tagged(it string, tags []string) string {
	var names []string
	for _, tag := range tags {
		if tag != "" {
			names = append(names, tag)
		}
	}
	if len(names) == 0 {
		return it
	}
	return it + " as " + strings.Join(names, ", ")
}

// kindOf says what a manifest is, where it is not an image.
func kindOf(e tiers.Event) []string {
	switch {
	case e.Subject != "" && e.ArtifactType != "":
		return []string{e.ArtifactType + " about " + short(e.Subject)}
	case e.Subject != "":
		return []string{"about " + short(e.Subject)}
	case e.ArtifactType != "" && e.ArtifactType != ocispec.MediaTypeImageConfig:
		return []string{e.ArtifactType}
	}
	return nil
}

func why(cause string) []string {
	if cause == "" {
		return nil
	}
	return []string{"why: " + cause}
}

func was(previous digest.Digest) []string {
	if previous == "" {
		return nil
	}
	return []string{"it was " + short(previous)}
}

// risen is what a promotion is about, where it rose from.
func risen(e tiers.Event) string {
	return tagged(e.From+"/"+e.Repository+"@"+short(e.Digest), e.Tags)
}

// shortPolicy is a policy with enough of its digest.
func shortPolicy(nameAtDigest string) string {
	name, d, ok := strings.Cut(nameAtDigest, "@")
	if !ok {
		return orDash(nameAtDigest)
	}
	return name + " " + short(digest.Digest(d))
}

// tellPromotion says how a promotion ended: why it was asked for, by which policy it was
// decided, and on what evidence.
func tellPromotion(e tiers.Event) told {
	var t told
	switch e.Type {
	case tiers.EventPromoted:
		t = told{mark: "✓", style: green, what: fmt.Sprintf("had %s rise to %s", risen(e), e.Tier)}
	case tiers.EventRefused:
		t = told{mark: "✗", style: red, what: fmt.Sprintf("asked that %s rise to %s: the policy said no", risen(e), e.Tier)}
	default:
		t = told{mark: "✗", style: red, what: fmt.Sprintf("asked that %s rise to %s: it could not be decided or done", risen(e), e.Tier)}
	}
	t.details = []string{"promotion " + e.Cause}
	var p promote.Promotion
	if err := json.Unmarshal(e.Body, &p); err != nil {
		t.details = append(t.details, "what became of it cannot be read: "+err.Error())
		return t
	}
	if p.Rollback {
		t.details = append(append(t.details, "a rollback"), was(p.Replaces)...)
	}
	t.details = append(t.details, why(p.Reason)...)
	if p.Error != "" {
		t.details = append(t.details, p.Error)
	}
	if p.Verdict != nil {
		t.details = append(t.details, "policy "+shortPolicy(e.Policy))
		t.details = append(t.details, grounds(*p.Verdict)...)
	}
	if p.Summary != "" {
		t.details = append(t.details, "summary "+short(p.Summary))
	}
	t.details = bounded(t.details)
	return t
}

// grounds are the rules of a verdict with the evidence that satisfied them.
func grounds(v policy.Verdict) []string {
	var lines []string
	for _, r := range v.Rules {
		mark := "✓ "
		switch {
		case r.Mode == policy.Off:
			continue
		case !r.Allowed && r.Mode == policy.Warn:
			mark = "! "
		case !r.Allowed:
			mark = "✗ "
		}
		if len(r.Evidence) == 0 || !r.Allowed {
			lines = append(lines, mark+r.Name+": "+r.Message)
			continue
		}
		for _, used := range r.Evidence {
			lines = append(lines, fmt.Sprintf("%s%s: %s by %s, %s", mark, r.Name, used.PredicateType, used.Authority, short(used.Digest)))
		}
	}
	return lines
}

func tellStanding(e tiers.Event) told {
	var s promote.Standing
	if err := json.Unmarshal(e.Body, &s); err != nil {
		return told{what: "changed how " + risen(e) + " stands in " + e.Tier}
	}
	cause := e.Cause // a revocation says so
	if !strings.Contains(cause, " ") {
		cause = "promotion " + cause
	}
	details := []string{cause, "policy " + shortPolicy(e.Policy)}
	if len(s.Changed) > 0 {
		details = append(details, "what changed: "+strings.Join(s.Changed, ", "))
	}
	if s.Allowed {
		return told{mark: "✓", style: green, what: fmt.Sprintf("found that %s, which stands in %s, would pass again", risen(e), e.Tier), details: details}
	}
	return told{mark: "!", style: red, what: fmt.Sprintf("found that %s, which stands in %s, would no longer pass", risen(e), e.Tier), details: details}
}
