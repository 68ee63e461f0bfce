// Package web renders the pages for people: the tiers side by side, what is in each, the
// promotions with their verdicts, an artifact with its evidence.
//
// The pages are made on the server from embedded templates and carry no script; nothing
// comes from another host. They only read: every method but GET and HEAD is refused, and
// there is no form. What the caller may not see is left out, and asking for it by name
// answers as if it did not exist. Every list is bounded and has a next page.
//
// Text that others supplied (names, reasons, messages, predicates) reaches a page through
// html/template's contextual escaping alone, with control and direction characters made
// visible. Errors are told in general words; their causes go to the log.
package web
