package tiers

import "time"

// HurryQuotas has those who wait to change a quota wait no longer than d.
func (r *Registry) HurryQuotas(d time.Duration) {
	for _, t := range r.tiers {
		for _, q := range t.quotas {
			q.wait = d
		}
	}
}

// LimitWaiting lets n uploads wait for a buffer.
func (r *Registry) LimitWaiting(n int64) { r.buffers.most = n }

// Kept is how many bytes the listings in memory take, roughly.
func (r *Registry) Kept() int {
	r.pages.mu.Lock()
	defer r.pages.mu.Unlock()
	return r.pages.bytes
}

// SetWindow makes a search for strays remember so many objects at once.
func (r *Registry) SetWindow(n int) { r.window = n }
