package oci

import "errors"

// The errors of the registry. Adapters translate their libraries' errors into these at
// their own edge, every layer wraps them with the operation and the object, and the
// server alone maps them to a status and an OCI code.
var (
	ErrNameInvalid       = errors.New("invalid repository name")
	ErrTagInvalid        = errors.New("invalid tag")
	ErrTooManyTags       = errors.New("too many tags") // for one push
	ErrDigestInvalid     = errors.New("invalid digest")
	ErrManifestInvalid   = errors.New("invalid manifest")
	ErrSizeInvalid       = errors.New("invalid size") // the content is not as long as was announced
	ErrTooLarge          = errors.New("too large")    // over a limit of this registry
	ErrRangeInvalid      = errors.New("invalid range")
	ErrRequestInvalid    = errors.New("invalid request")
	ErrNameUnknown       = errors.New("repository unknown")
	ErrTierUnknown       = errors.New("tier unknown")
	ErrManifestUnknown   = errors.New("manifest unknown")
	ErrBlobUnknown       = errors.New("blob unknown")
	ErrUploadUnknown     = errors.New("upload unknown")
	ErrPromotionUnknown  = errors.New("promotion unknown")
	ErrPolicyUnknown     = errors.New("policy unknown")
	ErrRunUnknown        = errors.New("run unknown") // a collection or check
	ErrWebhookUnknown    = errors.New("webhook unknown")
	ErrQuarantineUnknown = errors.New("quarantine unknown")                 // the digest is not in quarantine
	ErrRevocationUnknown = errors.New("revocation unknown")                 // there is none of this id
	ErrManifestReference = errors.New("manifest refers to unknown content") // a blob or child is missing
	ErrUnauthorized      = errors.New("authentication required")
	ErrDenied            = errors.New("denied")
	ErrUnsupported       = errors.New("unsupported")
	ErrConflict          = errors.New("conflict")       // somebody else changed it meanwhile; asking again may help
	ErrTagImmutable      = errors.New("immutable tag")  // the tag exists and may not move
	ErrPolicyInvalid     = errors.New("invalid policy") // the document does not load
	ErrPolicyViolation   = errors.New("policy violation")
	ErrUndecidable       = errors.New("undecidable") // a verdict could not be reached; nothing was let through
	ErrTooManyRequests   = errors.New("too many requests")
	ErrQuotaExceeded     = errors.New("quota exceeded")    // what is here already leaves too little room
	ErrUnavailable       = errors.New("store unavailable") // etcd or S3 did not answer; asking again may help
	ErrCorrupt           = errors.New("stored content is corrupt")
	ErrObjectUnknown     = errors.New("object unknown") // an S3 key without an object
)
