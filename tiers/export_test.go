package tiers

// Kept is how many bytes the listings in memory take, roughly.
func (r *Registry) Kept() int {
	r.pages.mu.Lock()
	defer r.pages.mu.Unlock()
	return r.pages.bytes
}

// SetWindow makes a search for strays remember so many objects at once.
func (r *Registry) SetWindow(n int) { r.window = n }
