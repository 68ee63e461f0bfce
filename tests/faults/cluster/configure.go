package cluster

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// Keys are those that the policies and the checker name.
type Keys struct {
	CI     crypto.Signer
	Ledger *ecdsa.PublicKey // checkpoints
}

// The predicate types that the policies ask for, from dev to stable and from stable to
// release.
const (
	Provenance = "https://slsa.dev/provenance/v1"
	TestResult = "https://in-toto.io/attestation/test-result/v0.1"
)

// Users are those of the cluster, with passwords like their names. Alice and bob push to
// repositories that begin with their names, and promote them; ops may do everything.
var Users = []string{"alice", "bob", "ops"}

const policyText = `apiVersion: sluice.dev/v1alpha1
kind: TierPolicy
metadata: {name: %[1]s-to-%[2]s}
spec:
  from: %[1]s
  to: %[2]s
  repositories: ["**"]
  carry: all
  authorities:
    - {name: ci, key: {file: ci.pub}}
  require:
    - {name: evidence, predicateTypes: [%[3]q], from: {authorities: [ci]}}
`

// configure writes the configuration that all replicas share, with its keys and policies.
func (c *Cluster) configure() error {
	ci, err := c.key("ci")
	if err != nil {
		return err
	}
	c.Keys.CI = ci
	for _, name := range []string{"stable", "release", "ledger"} {
		key, err := c.key(name)
		if err != nil {
			return err
		}
		if name == "ledger" {
			c.Keys.Ledger = &key.PublicKey
		}
	}
	var users []string
	for _, name := range Users {
		hash, err := bcrypt.GenerateFromPassword([]byte(name), bcrypt.MinCost)
		if err != nil {
			return err
		}
		users = append(users, name+":"+string(hash))
	}
	s3 := func(tier string) string {
		proxy := c.Proxies[0]
		if tier == "release" {
			proxy = c.Proxies[len(c.Proxies)-1]
		}
		return fmt.Sprintf("{endpoint: %q, bucket: %s, accessKeyFile: access, secretKeyFile: secret}", proxy.URL(), c.Store.Buckets[tier])
	}
	dev := ""
	if c.config.Dev != "" {
		dev = ", " + c.config.Dev
	}
	for name, content := range map[string]string{
		"access": c.Store.Access, "secret": c.Store.Secret, "users": strings.Join(users, "\n"),
		"stable.yaml":  fmt.Sprintf(policyText, "dev", "stable", Provenance),
		"release.yaml": fmt.Sprintf(policyText, "stable", "release", TestResult),
		"sluice.yaml": fmt.Sprintf(`url: https://registry.example.com
tiers:
  - {name: dev, push: true, s3: %s%s}
  - {name: stable, from: dev, policy: stable.yaml, movingTags: ["moving*"], s3: %s}
  - {name: release, from: stable, policy: release.yaml, s3: %s}
signing: {keys: {stable: {file: stable.key}, release: {file: release.key}, ledger: {file: ledger.key}}}
auth:
  htpasswd: users
  grants:
    - {users: [alice], repositories: ["alice/**"], actions: [pull, push, delete, promote]}
    - {users: [bob], repositories: ["bob/**"], actions: [pull, push, delete, promote]}
    - {users: [ops], actions: [pull, push, delete, promote, approve, policy, admin, quarantine]}
%s`, s3("dev"), dev, s3("stable"), s3("release"), c.config.Extra),
	} {
		if err := os.WriteFile(filepath.Join(c.Dir, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// key makes a key pair, in the files name.key and name.pub.
func (c *Cluster) key(name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	for file, block := range map[string]*pem.Block{
		name + ".key": {Type: "PRIVATE KEY", Bytes: private}, name + ".pub": {Type: "PUBLIC KEY", Bytes: public},
	} {
		if err := os.WriteFile(filepath.Join(c.Dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			return nil, err
		}
	}
	return key, nil
}
