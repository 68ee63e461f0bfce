package clients

// inTotoName is what go calls in-toto's own command, after its module.
const inTotoName = "in-toto-golang"

// InToto runs in-toto's own command in the home's working directory, and returns what it
// printed.
func (h *Home) InToto(args ...string) string {
	h.tb.Helper()
	return h.Run(inTotoName, args...)
}
