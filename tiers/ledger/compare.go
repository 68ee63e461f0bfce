package ledger

import "golang.org/x/mod/sumdb/tlog"

// compare names what was done to the entries of a tile, of whose hashes it is known what
// was sealed. What both have in the same order stands where it should. Of the rest, an entry
// that is elsewhere was reordered, one that is nowhere was dropped, and one that was never
// sealed was added; one of each in the same place is a change.
func (v *verification) compare(first int64, sealed, found []tlog.Hash) {
	kept := common(sealed, found)
	var gone, strange []int // between two that are kept
	flush := func() {
		for len(gone) > 0 && len(strange) > 0 {
			index := first + int64(gone[0])
			v.find(Changed, index, "", "entry %d was changed: %s was sealed, what stands there has the hash %s", index, sealed[gone[0]], found[strange[0]])
			gone, strange = gone[1:], strange[1:]
		}
		for _, i := range gone {
			v.find(Dropped, first+int64(i), "", "entry %d was dropped: %s was sealed there, and stands nowhere in its tile", first+int64(i), sealed[i])
		}
		for _, j := range strange {
			v.find(Added, first+int64(j), "", "an entry was added at the place %d: %s was not sealed there", first+int64(j), found[j])
		}
		gone, strange = nil, nil
	}
	loose := map[tlog.Hash]int{} // found, and not in order
	moved := map[tlog.Hash]bool{}
	for j, h := range found {
		if kept.found[j] < 0 {
			loose[h] = j
		}
	}
	for i, h := range sealed {
		_, stands := loose[h]
		moved[h] = kept.sealed[i] < 0 && stands
	}
	i, j := 0, 0
	for i < len(sealed) || j < len(found) {
		switch {
		case i < len(sealed) && kept.sealed[i] < 0:
			if moved[sealed[i]] {
				v.find(Reordered, first+int64(i), "", "entry %d stands in the place %d", first+int64(i), first+int64(loose[sealed[i]]))
			} else {
				gone = append(gone, i)
			}
			i++
		case j < len(found) && kept.found[j] < 0:
			if !moved[found[j]] {
				strange = append(strange, j)
			}
			j++
		default:
			flush()
			i, j = i+1, j+1
		}
	}
	flush()
}

// alignment says of each hash of two sequences where it stands in the other; -1: nowhere, or
// not in the same order.
type alignment struct{ sealed, found []int }

// common aligns two sequences by a longest common subsequence. Each has a tile's hashes at
// the most.
func common(sealed, found []tlog.Hash) alignment {
	length := make([][]int16, len(sealed)+1) // of the best alignment of what begins at i and j
	for i := range length {
		length[i] = make([]int16, len(found)+1)
	}
	for i := len(sealed) - 1; i >= 0; i-- {
		for j := len(found) - 1; j >= 0; j-- {
			if sealed[i] == found[j] {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	a := alignment{make([]int, len(sealed)), make([]int, len(found))}
	for i := range a.sealed {
		a.sealed[i] = -1
	}
	for j := range a.found {
		a.found[j] = -1
	}
	for i, j := 0, 0; i < len(sealed) && j < len(found); {
		switch {
		case sealed[i] == found[j]:
			a.sealed[i], a.found[j] = j, i
			i, j = i+1, j+1
		case length[i+1][j] >= length[i][j+1]:
			i++
		default:
			j++
		}
	}
	return a
}
