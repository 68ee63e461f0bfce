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
			groups[i].current = newest(groups[i].current)
		}
	}
	return groups
}

func newest(claims []claim) []claim {
	var latest time.Time
	for _, c := range claims {
		if c.undone == nil && c.when.After(latest) {
			latest = c.when
		}
	}
	var current []claim
	for _, c := range claims {
		if c.undone != nil || c.when.Equal(latest) {
			current = append(current, c)
		}
	}
	return current
}
