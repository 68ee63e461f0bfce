package main

import "time"

// Config is the configuration file. Paths in it are relative to the file; those in
// environment variables are relative to the working directory. samples/sluice.yaml is
// the same for people, with every default.
type Config struct {
	// Listen is the address that the server listens on. Default 127.0.0.1:5000.
	Listen string `yaml:"listen" env:"LISTEN"`
	// Data is the directory for embedded stores and for keys that were made here.
	// Default ./sluice-data.
	Data string `yaml:"data" env:"DATA"`
	// URL is the base URL that clients know the registry by. Verifier ids and resource
	// URIs begin with it. Default http:// and the address that is listened on, which only
	// a loopback address may leave it at.
	URL string `yaml:"url" env:"URL"`
	// Web switches the pages on. Default true.
	Web bool `yaml:"web" env:"WEB"`
	// Etcd is the cluster that keeps the records. Without endpoints an embedded one does.
	Etcd EtcdConfig `yaml:"etcd" envPrefix:"ETCD_"`
	// Tiers stand from the bottom up. Default dev, stable and release.
	Tiers []TierConfig `yaml:"tiers" envPrefix:"TIERS_"`
	// GC says when garbage is collected, and what is garbage. All of it are durations: 24h,
	// 90m, 30s.
	GC GCConfig `yaml:"gc" envPrefix:"GC_"`
	// Signing names the keys that sign for the registry.
	Signing SigningConfig `yaml:"signing" envPrefix:"SIGNING_"`
	// Ledger says where the log of all that happens lies.
	Ledger LedgerConfig `yaml:"ledger" envPrefix:"LEDGER_"`
	// Pulls says which pulls are recorded, so that it is known who has what.
	Pulls PullsConfig `yaml:"pulls" envPrefix:"PULLS_"`
	// Webhooks are where events are delivered to. Default none.
	Webhooks []WebhookConfig `yaml:"webhooks" envPrefix:"WEBHOOKS_"`
	// Auth says who may do what. Without it anyone may do anything, and the server takes
	// only a loopback address.
	Auth AuthConfig `yaml:"auth" envPrefix:"AUTH_"`
	// Admin is a second address, for whoever runs the server.
	Admin AdminConfig `yaml:"admin" envPrefix:"ADMIN_"`

	lines lines // of what stands in the file
}

// EtcdConfig names an etcd cluster.
type EtcdConfig struct {
	Endpoints    []string `yaml:"endpoints" env:"ENDPOINTS"` // http://, https:// or unix://; in the variable with commas between
	CA           string   `yaml:"ca" env:"CA"`               // file, PEM; default: the system's roots
	Cert         string   `yaml:"cert" env:"CERT"`           // file, PEM; with key: the client's certificate
	Key          string   `yaml:"key" env:"KEY"`             // file, PEM
	Username     string   `yaml:"username" env:"USERNAME"`
	PasswordFile string   `yaml:"passwordFile" env:"PASSWORD_FILE"`
	Prefix       string   `yaml:"prefix" env:"PREFIX"` // of every key; default sluice/v1/
}

// TierConfig is one level of the registry.
type TierConfig struct {
	Name       string   `yaml:"name" env:"NAME"`
	Push       bool     `yaml:"push" env:"PUSH"`              // clients may write; default false
	From       string   `yaml:"from" env:"FROM"`              // the tier that artifacts rise from
	Policy     string   `yaml:"policy" env:"POLICY"`          // file that seeds the policy where there is none of its name yet
	Host       string   `yaml:"host" env:"HOST"`              // host name of the tier's own, without the tier in names
	MovingTags []string `yaml:"movingTags" env:"MOVING_TAGS"` // patterns of tags that a promotion may move; default none
	// FollowEvidence has evidence that comes to the tier below, for an artifact that stands
	// here, rise by itself. Default false; only of a tier with from.
	FollowEvidence bool     `yaml:"followEvidence" env:"FOLLOW_EVIDENCE"`
	Redirect       bool     `yaml:"redirect" env:"REDIRECT"` // send pulls of blobs to the S3 server, which clients must reach; default false
	S3             S3Config `yaml:"s3" envPrefix:"S3_"`      // without an endpoint: the embedded server
	// Limits are what the tier takes from clients. Only a tier with push has any.
	Limits LimitsConfig `yaml:"limits" envPrefix:"LIMITS_"`
	// Retention is what goes by itself, by the first rule that is about it. Only a tier with
	// push has any; default none, everything stays.
	Retention []RetentionConfig `yaml:"retention" envPrefix:"RETENTION_"`
}

// RetentionConfig says which tags stay, or for how long manifests without one. The meaning
// is that of tiers.RetentionRule.
type RetentionConfig struct {
	Repositories []string `yaml:"repositories" env:"REPOSITORIES"` // globs without the tier, ** crosses slashes; default: all
	Tags         []string `yaml:"tags" env:"TAGS"`                 // patterns of the tags that the rule is about; default: all
	Keep         bool     `yaml:"keep" env:"KEEP"`                 // all of them stay; default false
	KeepLast     int      `yaml:"keepLast" env:"KEEP_LAST"`        // so many stay, by when they were set, at most 10000; default none
	KeepFor      Age      `yaml:"keepFor" env:"KEEP_FOR"`          // younger ones stay; default none
	Untagged     Age      `yaml:"untagged" env:"UNTAGGED"`         // in a rule of its own: manifests without a tag go when older, 1h or more
}

// LimitsConfig bounds what clients do to a tier. The meaning of each is that of
// tiers.Limits.
type LimitsConfig struct {
	BlobSize      Size          `yaml:"blobSize" env:"BLOB_SIZE"`           // of one blob; default any
	ManifestSize  Size          `yaml:"manifestSize" env:"MANIFEST_SIZE"`   // of one manifest; default and most 4MiB
	NameLength    int           `yaml:"nameLength" env:"NAME_LENGTH"`       // bytes of a repository name without the tier; default what fits 255 with it
	Uploads       int           `yaml:"uploads" env:"UPLOADS"`              // sessions open at once, at most 10000; default any number
	ImmutableTags []string      `yaml:"immutableTags" env:"IMMUTABLE_TAGS"` // patterns of tags that neither move nor go; default none
	Delete        *bool         `yaml:"delete" env:"DELETE"`                // of tags, manifests and blobs; default true
	Quotas        []QuotaConfig `yaml:"quotas" envPrefix:"QUOTAS_"`         // default none
}

// QuotaConfig bounds what the repositories under a prefix hold together.
type QuotaConfig struct {
	Prefix string `yaml:"prefix" env:"PREFIX"` // components of repository names without the tier; default the whole tier
	Size   Size   `yaml:"size" env:"SIZE"`
}

// AdminConfig is the address of profiles and metrics.
type AdminConfig struct {
	Listen string `yaml:"listen" env:"LISTEN"` // a loopback address; default none: off
}

// GCConfig is about the collection of garbage. Each of its times but the interval is at least
// a second.
type GCConfig struct {
	// Interval is how long after one collection has begun the next one does, on whichever
	// replica. Default 24h; 0s: none begins by itself.
	Interval time.Duration `yaml:"interval" env:"INTERVAL"`
	// Promise is how long bytes that nothing needs yet are kept from when a client was last
	// told that they are here: longer than any push takes. Default 24h.
	Promise time.Duration `yaml:"promise" env:"PROMISE"`
	// Drain is how long condemned bytes stay for those who still read them. Default 20m; more
	// than 15m where a tier redirects.
	Drain time.Duration `yaml:"drain" env:"DRAIN"`
	// Uploads is how long an unfinished upload stays from when it last got any. Default 24h.
	Uploads time.Duration `yaml:"uploads" env:"UPLOADS"`
}

// S3Config names a bucket.
type S3Config struct {
	Endpoint      string `yaml:"endpoint" env:"ENDPOINT"`             // http:// or https://, without a path
	Bucket        string `yaml:"bucket" env:"BUCKET"`                 // default sluice- and the tier's name; made where missing and allowed
	Region        string `yaml:"region" env:"REGION"`                 // default us-east-1
	AccessKeyFile string `yaml:"accessKeyFile" env:"ACCESS_KEY_FILE"` // file that holds the access key
	SecretKeyFile string `yaml:"secretKeyFile" env:"SECRET_KEY_FILE"` // file that holds the secret key
}

// SigningConfig names private keys, by tier for summaries and "ledger" for the ledger.
// Keys that are not named are made at the first start, under keys in the data directory.
type SigningConfig struct {
	Keys map[string]KeyConfig `yaml:"keys"`
}

// KeyConfig is a private key in a file: PKCS #8, or cosign's format with its password.
type KeyConfig struct {
	File         string `yaml:"file"`
	PasswordFile string `yaml:"passwordFile"` // default: no password
}

// LedgerConfig is about the log of all that happens.
type LedgerConfig struct {
	// Tier is whose bucket holds it, under ledger/. Default: the last. Once there is a log it
	// stays where it is.
	Tier string `yaml:"tier" env:"TIER"`
}

// AuthConfig says who may do what.
type AuthConfig struct {
	Htpasswd string        `yaml:"htpasswd" env:"HTPASSWD"` // file of users with bcrypt hashes
	Grants   []GrantConfig `yaml:"grants"`
}

// GrantConfig lets users do something.
type GrantConfig struct {
	Users        []string `yaml:"users"`
	Tiers        []string `yaml:"tiers"`        // default: all
	Repositories []string `yaml:"repositories"` // globs without the tier, ** crosses slashes; default: all
	Actions      []string `yaml:"actions"`      // pull, push, delete, promote, approve, policy, admin, quarantine, inspect
}
