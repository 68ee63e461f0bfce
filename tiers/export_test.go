package tiers

// Kept is how many bytes the listings in memory take, roughly.
func (r *Registry) Kept() int {
	r.pages.mu.Lock()
	defer r.pages.mu.Unlock()
	return r.pages.bytes
}

// SetLargest sets how many bytes one request to a store may hold.
func (r *Registry) SetLargest(n int64) { r.largest = n }
