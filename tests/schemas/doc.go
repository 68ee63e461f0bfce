// Command schemas writes the JSON Schema of a policy document, for editors, from the types
// that a document is read into and their comments. make generate runs it; a test fails
// where the schema that is kept is not what it writes.
package main
