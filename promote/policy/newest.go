package policy

import "time"

// group is what has to hold together: one claim, or, in a family, all that may be the
// newest of one authority.
type group struct {
	current []claim
	newest  bool
}

// groups drops what newer claims of the same authority replace. Times that were proven and
// times that the predicate states are compared alike. Where it cannot be known which claim
// is the newest, because two are of one time or one has none that counts, all of them have
// to hold: an old pass must not outlive a fail by losing its date.
func (r *rule) groups(claims []claim) []group {
	type owner struct {
		family    family
		authority string
	}
	var groups []group
	position := map[owner]int{}
	for _, c := range claims {
		f := kindOf(c.PredicateType).family
		if f == familyNone && r.Summary != nil {
			f = familySummary
		}
		if f == familyNone {
			groups = append(groups, group{current: []claim{c}})
			continue
		}
		who := owner{f, c.signer.Authority}
		i, ok := position[who]
		if !ok {
			i = len(groups)
			position[who] = i
			groups = append(groups, group{newest: true})
		}
		groups[i].current = append(groups[i].current, c)
	}
	for i := range groups {
		if groups[i].newest {
			groups[i].current = newest(groups[i].current, func(c claim) (time.Time, error) { return c.when, c.undone })
		}
	}
	return groups
}

// newest keeps those of the latest time, and those whose time is not known.
func newest[T any](all []T, made func(T) (when time.Time, undone error)) []T {
	var latest time.Time
	for _, one := range all {
		if when, undone := made(one); undone == nil && when.After(latest) {
			latest = when
		}
	}
	var current []T
	for _, one := range all {
		if when, undone := made(one); undone != nil || when.Equal(latest) {
			current = append(current, one)
		}
	}
	return current
}
