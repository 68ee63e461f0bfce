package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // a policy means the same on a machine that has no time zones
)

const maxFreezes = 100

// FreezeSpec is a time at which nothing rises: once, between From and Until, or every week
// on Days between Start and End. An exception may be made from it by its name.
type FreezeSpec struct {
	Name string `json:"name" yaml:"name"`
	Mode Mode   `json:"mode" yaml:"mode"` // enforce by default
	// From and Until bound one freeze, in RFC 3339.
	From  string `json:"from,omitempty" yaml:"from"`
	Until string `json:"until,omitempty" yaml:"until"`
	// Days are days of the week, Fri say. Start and End are times of these days, 16:00 and
	// 24:00 say; the whole day by default.
	Days  []string `json:"days,omitempty" yaml:"days"`
	Start string   `json:"start,omitempty" yaml:"start"`
	End   string   `json:"end,omitempty" yaml:"end"`
	// TimeZone is the zone of Days, as Europe/Berlin is; UTC by default.
	TimeZone string `json:"timeZone,omitempty" yaml:"timeZone"`
	// Reason is told to whoever is refused.
	Reason string `json:"reason,omitempty" yaml:"reason"`
}

// freeze is a FreezeSpec, compiled.
type freeze struct {
	FreezeSpec
	from, until time.Time      // of one freeze
	days        []time.Weekday // of a weekly one
	start, end  int            // minutes of the day
	zone        *time.Location
}

// freezes checks and compiles spec.freeze.
func (l *loader) freezes() []freeze {
	spec := l.doc.Spec.Freeze
	if len(spec) > maxFreezes {
		l.add("spec.freeze", "has %d freezes, at most %d are allowed", len(spec), maxFreezes)
		return nil
	}
	var all []freeze
	for i := range spec {
		path, f := fmt.Sprintf("spec.freeze[%d]", i), &spec[i]
		l.ruleName(path+".name", f.Name, "rules")
		l.mode(path+".mode", &f.Mode)
		once, weekly := l.has(path+".from") || l.has(path+".until"), l.has(path+".days")
		if once == weekly {
			l.add(path, "wants from and until, or days")
			continue
		}
		compiled := freeze{}
		if once {
			l.once(path, f, &compiled)
		} else {
			l.weekly(path, f, &compiled)
		}
		compiled.FreezeSpec = *f
		all = append(all, compiled)
	}
	return all
}

func (l *loader) once(path string, f *FreezeSpec, out *freeze) {
	out.from, out.until = l.time(path+".from", &f.From), l.time(path+".until", &f.Until)
	if l.has(path+".from") && l.has(path+".until") && !out.until.After(out.from) {
		l.add(path+".until", "is not after from: nothing would be frozen")
	}
	for _, field := range []string{"from", "until"} {
		if !l.has(path + "." + field) {
			l.add(path+"."+field, "is missing: a freeze begins and ends")
		}
	}
	for _, field := range []string{"start", "end", "timeZone"} {
		if l.has(path + "." + field) {
			l.add(path+"."+field, "belongs to days; from and until are whole times")
		}
	}
}

func (l *loader) weekly(path string, f *FreezeSpec, out *freeze) {
	for i, day := range f.Days {
		weekday := slices.IndexFunc(weekdays(), func(name string) bool { return name == day })
		switch at := fmt.Sprintf("%s.days[%d]", path, i); {
		case weekday < 0:
			l.add(at, "is %q, want one of %s", day, strings.Join(weekdays(), ", "))
		case slices.Contains(f.Days[:i], day):
			l.add(at, "%q stands there twice", day)
		default:
			out.days = append(out.days, time.Weekday(weekday))
		}
	}
	if len(f.Days) == 0 {
		l.add(path+".days", "is empty: name the days")
	}
	if !l.has(path + ".start") {
		f.Start = "00:00"
	}
	if !l.has(path + ".end") {
		f.End = "24:00"
	}
	out.start, out.end = l.clock(path+".start", f.Start), l.clock(path+".end", f.End)
	if out.end <= out.start {
		l.add(path+".end", "%s is not after start %s: a freeze over midnight takes two entries", f.End, f.Start)
	}
	if !l.has(path + ".timeZone") {
		f.TimeZone = "UTC"
	}
	var err error
	if out.zone, err = time.LoadLocation(f.TimeZone); err != nil || f.TimeZone == "Local" {
		l.add(path+".timeZone", "%q is no time zone, as Europe/Berlin is", f.TimeZone)
		out.zone = time.UTC
	}
}

func weekdays() []string { return []string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"} }

// clock reads a time of day, 00:00 to 24:00, as minutes.
func (l *loader) clock(path, text string) int {
	if text == "24:00" {
		return 24 * 60
	}
	t, err := time.Parse("15:04", text)
	if err != nil || len(text) != len("15:04") {
		l.add(path, "is %q, want a time of day, 00:00 to 24:00", text)
		return 0
	}
	return t.Hour()*60 + t.Minute()
}

// covers says whether a time lies in the freeze, and until when that is so.
func (f *freeze) covers(now time.Time) (until time.Time, frozen bool) {
	if len(f.days) == 0 {
		return f.until, !now.Before(f.from) && now.Before(f.until)
	}
	local := now.In(f.zone)
	minute := local.Hour()*60 + local.Minute()
	year, month, day := local.Date()
	until = time.Date(year, month, day, 0, f.end, 0, 0, f.zone)
	return until.UTC(), slices.Contains(f.days, local.Weekday()) && f.start <= minute && minute < f.end
}

// frozen is the rule of a freeze in the verdict.
func (e *evaluation) frozen(f *freeze) Rule {
	out := Rule{Name: f.Name, Mode: f.Mode, Allowed: true, Evidence: []Used{}}
	if f.Mode == Off {
		out.Message = "not evaluated: the rule is off"
		return out
	}
	until, frozen := f.covers(e.Now)
	if !frozen {
		out.Message = "nothing is frozen at this time"
		return out
	}
	out.Message = "frozen until " + until.UTC().Format(time.RFC3339)
	if f.Reason != "" {
		out.Message += ": " + f.Reason
	}
	t := &trial{evaluation: e, rule: &rule{Requirement: Requirement{Name: f.Name}}}
	if waiver := t.waived(Platform{Digest: e.Digest}); waiver != nil {
		out.Message, out.Exceptions = out.Message+"; "+waiver.describe(), t.usedExceptions()
		return out
	}
	out.Allowed = false
	out.Message += t.misfits()
	out.Remedy = "# promote again at " + until.UTC().Format(time.RFC3339)
	return out
}
