package promote

// CompareAtOnce has a check compare so many manifests and promotions with the documents at
// once.
func (e *Engine) CompareAtOnce(n int) { e.checkWindow = n }

// Families are what the keys of this package's records begin with.
func Families() []string { return families() }

// RedecideAtOnce has pages of redecisions hold so many artifacts.
func (e *Engine) RedecideAtOnce(n int) { e.redecideMost = n }
