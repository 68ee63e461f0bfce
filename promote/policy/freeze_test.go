package policy

import (
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/promote/attest"
)

func TestFreeze(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	good := s.signed("x", typeProvenance, nil, "a")
	const (
		yearEnd = "{name: frozen, from: 2026-12-20T00:00:00Z, until: 2027-01-04T00:00:00Z, reason: nobody is here}"
		friday  = "{name: frozen, days: [Fri], start: '16:00', timeZone: Europe/Berlin}"
		morning = "{name: frozen, days: [Fri], end: '09:30'}"
		whole   = "{name: frozen, days: [Sat, Sun]}"
	)
	tests := []struct {
		freeze, now, until string
	}{
		{yearEnd, "2026-12-19T23:59:59Z", ""},
		{yearEnd, "2026-12-20T00:00:00Z", "2027-01-04T00:00:00Z: nobody is here"},
		{yearEnd, "2027-01-03T23:59:59Z", "2027-01-04T00:00:00Z"},
		{yearEnd, "2027-01-04T00:00:00Z", ""},
		{friday, "2026-11-27T14:59:59Z", ""}, // Berlin is an hour ahead in winter
		{friday, "2026-11-27T15:00:00Z", "2026-11-27T23:00:00Z"},
		{friday, "2026-11-27T23:00:00Z", ""},
		{friday, "2026-07-03T14:00:00Z", "2026-07-03T22:00:00Z"}, // and two in summer
		{friday, "2026-11-26T16:00:00Z", ""},
		{morning, "2026-11-27T09:29:59Z", "2026-11-27T09:30:00Z"},
		{morning, "2026-11-27T09:30:00Z", ""},
		{whole, "2026-11-28T00:00:00Z", "2026-11-29T00:00:00Z"},
		{whole, "2026-11-29T23:59:59Z", "2026-11-30T00:00:00Z"},
		{whole, "2026-11-30T00:00:00Z", ""},
		{strings.Replace(whole, "frozen", "frozen, mode: off", 1), "2026-11-28T00:00:00Z", ""},
	}
	for _, tt := range tests {
		p := load(t, keys, document(plainRule)+"  freeze: ["+tt.freeze+"]\n")
		now, err := time.Parse(time.RFC3339, tt.now)
		if err != nil {
			t.Fatal(err)
		}
		f := s.facts(good)
		f.Now = now
		v := p.Evaluate(f)
		r := v.Rules[0]
		if v.Allowed != (tt.until == "") || r.Name != "frozen" || !strings.Contains(r.Message, tt.until) || v.Allowed != (r.Remedy == "") {
			t.Errorf("%s at %s: allowed %v, %+v", tt.freeze, tt.now, v.Allowed, r)
		}
	}
}

// A freeze alone never lets anything pass, and an exception from it does.
func TestFreezeBesideRules(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	good := s.signed("x", typeProvenance, nil, "a")
	freeze := "  freeze: [{name: sunday, days: [Sun]}]\n" // as noon is
	exceptions := "  exceptions: {from: {authorities: [b]}, rules: [sunday]}\n"
	waiver := s.exceptionBy("b", map[string]string{"rule": "sunday"})
	later := strings.Replace(plainRule, "}}\n", "}, effectiveOn: 2027-01-01T00:00:00Z}\n", 1)
	monday := strings.Replace(freeze, "[Sun]", "[Mon]", 1)
	for _, tt := range []struct {
		name, text string
		evidence   []attest.Evidence
		allowed    bool
	}{
		{"frozen", document(plainRule) + freeze, []attest.Evidence{good}, false},
		{"warned", document(plainRule) + strings.Replace(freeze, "sunday", "sunday, mode: warn", 1), []attest.Evidence{good}, true},
		{"excepted", document(plainRule) + freeze + exceptions, []attest.Evidence{good, waiver}, true},
		{"excepted by nobody", document(plainRule) + freeze, []attest.Evidence{good, waiver}, false},
		{"excepted without the rest", document(plainRule) + freeze + exceptions, []attest.Evidence{waiver}, false},
		{"no rule in force", document(later) + monday, []attest.Evidence{good}, false},
	} {
		if v := load(t, keys, tt.text).Evaluate(s.facts(tt.evidence...)); v.Allowed != tt.allowed {
			t.Errorf("%s: allowed %v: %+v", tt.name, v.Allowed, v.Rules)
		}
	}
}

func TestEffective(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	good := s.signed("x", typeTest, nil, "a")
	second := "    - {name: tested, predicateTypes: [\"" + typeTest + "\"], from: {authorities: [b]}, "
	for _, tt := range []struct {
		name, text string
		mode       Mode
		allowed    bool
		message    string
	}{
		{"in force", "effectiveOn: 2026-11-22T12:00:00Z}\n", Enforce, false, "no attestation"},
		{"not yet", "effectiveOn: 2026-11-22T12:00:01Z}\n", Warn, true, "enforced from 2026-11-22T12:00:01Z on"},
		{"not yet, as a warning", "mode: warn, effectiveOn: 2026-11-22T12:00:01Z}\n", Warn, true, "no attestation"},
		{"still", "effectiveUntil: 2026-11-22T12:00:01Z}\n", Enforce, false, "no attestation"},
		{"no more", "effectiveUntil: 2026-11-22T12:00:00Z}\n", Off, true, "in force until 2026-11-22T12:00:00Z"},
		{"off", "mode: off, effectiveOn: 2026-11-22T12:00:00Z}\n", Off, true, "the rule is off"},
	} {
		p := load(t, keys, document(strings.Replace(plainRule, typeProvenance, typeTest, 1)+second+tt.text))
		v := p.Evaluate(s.facts(good))
		r := v.Rules[1]
		if v.Allowed != tt.allowed || r.Mode != tt.mode || !strings.Contains(r.Message, tt.message) {
			t.Errorf("%s: allowed %v, %+v", tt.name, v.Allowed, r)
		}
	}
	v := load(t, keys, document(strings.Replace(plainRule, "{authorities: [a]}", "{authorities: [a]}, effectiveOn: 2027-01-01T00:00:00Z", 1))).Evaluate(s.facts(good))
	if last := v.Rules[len(v.Rules)-1]; v.Allowed || last.Name != "enforced" || last.Allowed {
		t.Errorf("no rule in force: %+v", v)
	}
}

func TestMinAge(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	p := load(t, keys, builtBy("from: {authorities: [a]}, minAge: 24h, maxAge: 48h"))
	for _, tt := range []struct {
		name     string
		evidence attest.Evidence
		allowed  bool
		message  string
	}{
		{"soaked", s.signed("x", typeProvenance, finished(noon.Add(-24*time.Hour)), "a"), true, ""},
		{"fresh, and said to be older", at(s.signed("x", typeProvenance, finished(noon.Add(-47*time.Hour)), "a"), noon.Add(-23*time.Hour)), false, "it is 23h0m0s old, minAge is 24h0m0s"},
		{"fresh", s.signed("x", typeProvenance, finished(noon.Add(-23*time.Hour)), "a"), false, "minAge is 24h0m0s: it is old enough at 2026-11-22T13:00:00Z"},
		{"too old", s.signed("x", typeProvenance, finished(noon.Add(-49*time.Hour)), "a"), false, "maxAge is 48h0m0s"},
		{"proven to be fresh", at(s.signed("x", typeProvenance, finished(noon.Add(-24*time.Hour)), "a"), noon), false, "it is 0s old"},
		{"undated", s.signed("x", typeProvenance, map[string]any{}, "a"), false, "cannot be decided"},
	} {
		t.Run(tt.name, func(t *testing.T) { decided(t, p.Evaluate(s.facts(tt.evidence)), tt.allowed, tt.message) })
	}
	undated := load(t, keys, builtBy("from: {authorities: [a]}, minAge: 24h"))
	decided(t, undated.Evaluate(s.facts(s.signed("x", typeProvenance, map[string]any{}, "a"))), false, "minAge 24h0m0s cannot be decided")
}
