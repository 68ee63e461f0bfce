// Package apispec holds answers of the API against the OpenAPI document that describes
// them. Tests wrap the transport of their client with it: an answer with a status, a
// header, a media type or a member that the document does not have fails the test.
//
// It looks at answers alone. Requests that are wrong on purpose are what tests are for.
package apispec
