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
	"time"

	"github.com/caarlos0/env/v11"
	"go.yaml.in/yaml/v3"

	"sluice.dev/sluice/tiers/pulls"
)

const (
	defaultListen = "127.0.0.1:5000"
	defaultData   = "sluice-data"
	bucketPrefix  = "sluice-"
	maxConfigSize = 1 << 20 // bytes
)

func defaultConfig() *Config {
	return &Config{Listen: defaultListen, Data: defaultData, Web: true,
		GC:    GCConfig{Interval: 24 * time.Hour, Promise: 24 * time.Hour, Drain: 20 * time.Minute, Uploads: 24 * time.Hour},
		Pulls: PullsConfig{Sample: "1", Keep: pulls.DefaultKeep, Interval: pulls.DefaultInterval}}
}

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
	duration := regexp.MustCompile(`cannot unmarshal \S+ (.*)into time\.Duration`)
	into := regexp.MustCompile(`cannot unmarshal \S+ (.*)into \S+`)
	var all []error
	for _, text := range wrong.Errors {
		text = unknown.ReplaceAllString(text, `unknown key "$1"`)
		text = duration.ReplaceAllString(text, "${1}is no duration: want 24h, 90m or 30s")
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
	for i := range c.Webhooks {
		paths = append(paths, &c.Webhooks[i].SecretFile, &c.Webhooks[i].CA)
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
	if c.Ledger.Tier == "" {
		c.Ledger.Tier = c.Tiers[len(c.Tiers)-1].Name
	}
	for i := range c.Webhooks {
		c.Webhooks[i].fill(func(field string) bool { return c.lines[fmt.Sprintf("webhooks[%d].%s", i, field)] > 0 })
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
