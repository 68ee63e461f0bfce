package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/caarlos0/env/v11"
	"go.yaml.in/yaml/v3"
)

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
	// Signing names the keys that sign for the registry.
	Signing SigningConfig `yaml:"signing" envPrefix:"SIGNING_"`
	// Auth says who may do what. Without it anyone may do anything, and the server takes
	// only a loopback address.
	Auth AuthConfig `yaml:"auth" envPrefix:"AUTH_"`

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
	S3         S3Config `yaml:"s3" envPrefix:"S3_"`           // without an endpoint: the embedded server
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
	Actions      []string `yaml:"actions"`      // pull, push, delete, promote, approve, policy, admin
}

const (
	defaultListen = "127.0.0.1:5000"
	defaultData   = "sluice-data"
	bucketPrefix  = "sluice-"
	maxConfigSize = 1 << 20 // bytes
)

func defaultConfig() *Config { return &Config{Listen: defaultListen, Data: defaultData, Web: true} }

// configSource is where a configuration comes from.
type configSource struct {
	file    string // empty: defaults alone
	environ map[string]string
	listen  string // of the command line, empty: not given
	data    string // of the command line, empty: not given
	home    string // the data directory where nothing names one, empty: the default
}

// loadConfig reads the file, then the environment, then the command line, each over what
// was before, and checks the whole. Whatever is wrong is in the error, one problem a line.
func loadConfig(src configSource) (*Config, error) {
	cfg, base := defaultConfig(), "."
	if src.home != "" {
		cfg.Data = src.home
	}
	if src.file != "" {
		raw, err := readLimited(src.file, maxConfigSize)
		if err != nil {
			return nil, fmt.Errorf("configuration: %w", err)
		}
		if err := cfg.parse(raw); err != nil {
			return nil, fmt.Errorf("configuration %s:\n%w", src.file, err)
		}
		base = filepath.Dir(src.file)
	}
	if err := cfg.absolute(base); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if len(src.environ) > 0 { // the library would read the process's own instead of none
		if err := env.ParseWithOptions(cfg, env.Options{Prefix: envPrefix, Environment: src.environ}); err != nil {
			return nil, fmt.Errorf("configuration: environment: %w", err)
		}
	}
	if src.listen != "" {
		cfg.Listen = src.listen
	}
	if src.data != "" {
		cfg.Data = src.data
	}
	if err := cfg.absolute("."); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	cfg.fill()
	if err := cfg.check(); err != nil {
		where := "configuration"
		if src.file != "" {
			where += " " + src.file
		}
		return nil, fmt.Errorf("%s:\n%w", where, err)
	}
	return cfg, nil
}

const envPrefix = "SLUICE_"

// parse reads a file strictly: one document, no key that is unknown, repeated or empty.
func (c *Config) parse(raw []byte) error {
	var root yaml.Node
	if err := yaml.Unmarshal(raw, &root); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(root.Content) == 0 {
		return nil // all comments: all defaults
	}
	c.lines = lines{}
	if err := c.lines.walk("", root.Content[0]); err != nil {
		return err
	}
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	if err := dec.Decode(c); err != nil {
		return decodeProblems(err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return errors.New("want one document, something follows it")
	}
	return nil
}

// decodeProblems words the decoder's errors without the names of Go types.
func decodeProblems(err error) error {
	var wrong *yaml.TypeError
	if !errors.As(err, &wrong) {
		return errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	unknown := regexp.MustCompile(`field (\S+) not found in type \S+`)
	into := regexp.MustCompile(`cannot unmarshal \S+ (.*)into \S+`)
	var all []error
	for _, text := range wrong.Errors {
		text = unknown.ReplaceAllString(text, `unknown key "$1"`)
		text = into.ReplaceAllString(text, "another kind of value is wanted here than ${1}is")
		all = append(all, errors.New(text))
	}
	return errors.Join(all...)
}

// lines knows the line of each path in the file, tiers[0].name say.
type lines map[string]int

// walk notes the lines and refuses keys without a value: a key whose value somebody
// commented out must not mean the default.
func (l lines) walk(path string, node *yaml.Node) error {
	var problems []error
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			child := strings.TrimPrefix(path+"."+node.Content[i].Value, ".")
			l[child] = node.Content[i].Line
			problems = append(problems, l.walk(child, node.Content[i+1]))
		}
	case yaml.SequenceNode:
		for i, item := range node.Content {
			child := fmt.Sprintf("%s[%d]", path, i)
			l[child] = item.Line
			problems = append(problems, l.walk(child, item))
		}
	case yaml.AliasNode:
		return fmt.Errorf("line %d: %s: anchors and aliases are not allowed: write the value out", node.Line, path)
	}
	if path != "" && node.Kind != yaml.AliasNode && len(node.Content) == 0 && (node.Value == "" || node.Tag == "!!null") {
		problems = append(problems, fmt.Errorf("line %d: %s: is empty: leave the key out or give it a value", node.Line, path))
	}
	return errors.Join(problems...)
}

// paths are all fields that name a file or directory.
func (c *Config) paths() []*string {
	paths := []*string{&c.Data, &c.Etcd.CA, &c.Etcd.Cert, &c.Etcd.Key, &c.Etcd.PasswordFile, &c.Auth.Htpasswd}
	for i := range c.Tiers {
		t := &c.Tiers[i]
		paths = append(paths, &t.Policy, &t.S3.AccessKeyFile, &t.S3.SecretKeyFile)
	}
	return paths
}

// absolute makes all paths absolute that are not yet. The embedded S3 server changes the
// working directory, so none may stay relative.
func (c *Config) absolute(base string) error {
	resolve := func(path string) (string, error) {
		if path == "" || filepath.IsAbs(path) {
			return path, nil
		}
		return filepath.Abs(filepath.Join(base, path))
	}
	for _, path := range c.paths() {
		var err error
		if *path, err = resolve(*path); err != nil {
			return err
		}
	}
	for name, key := range c.Signing.Keys {
		var err, err2 error
		key.File, err = resolve(key.File)
		key.PasswordFile, err2 = resolve(key.PasswordFile)
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		c.Signing.Keys[name] = key
	}
	return nil
}

// fill completes what has a default that depends on the rest.
func (c *Config) fill() {
	if len(c.Tiers) == 0 {
		c.Tiers = []TierConfig{{Name: "dev", Push: true}, {Name: "stable", From: "dev"}, {Name: "release", From: "stable"}}
	}
	for i := range c.Tiers {
		if t := &c.Tiers[i]; t.S3.Bucket == "" {
			t.S3.Bucket = bucketPrefix + t.Name
		}
	}
	c.URL = strings.TrimSuffix(c.URL, "/")
}

// embedsEtcd and embedsS3 say which of the stores nobody named.
func (c *Config) embedsEtcd() bool { return len(c.Etcd.Endpoints) == 0 }

func (c *Config) embedsS3() bool {
	for _, t := range c.Tiers {
		if t.S3.Endpoint == "" {
			return true
		}
	}
	return false
}

// environment reads variables of the form NAME=value.
func environment(environ []string) map[string]string { return env.ToMap(environ) }

// readLimited reads a file of at most limit bytes.
func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("read %s: it has more than %d bytes", path, limit)
	}
	return content, nil
}
