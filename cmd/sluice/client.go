package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"sluice.dev/sluice/server"
)

const (
	maxAnswer     = 64 << 20 // bytes of one answer of the API
	headerTimeout = 2 * time.Minute
	apiPageSize   = 1000
)

// connection is the flags that say how a server is reached.
type connection struct {
	plainHTTP bool
	insecure  bool
}

func (c *connection) flag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&c.plainHTTP, "plain-http", false, "use http; default for loopback hosts")
	cmd.Flags().BoolVar(&c.insecure, "insecure", false, "do not verify the server's certificate")
}

// client speaks to one server: its API, and the registry protocol through oras-go, both
// with the credentials of docker's configuration.
type client struct {
	host  string
	plain bool
	auth  *auth.Client
}

// newClient makes a client; it sends nothing yet.
func newClient(cmd *cobra.Command, c connection, host string) (*client, error) {
	plain := c.plainHTTP
	if !cmd.Flags().Changed("plain-http") {
		plain = isLoopback(hostOf(host))
	}
	store, err := dockerCredentials()
	if err != nil {
		return nil, err
	}
	return dial(host, plain, c.insecure, store), nil
}

// newInspector is newClient for verbs that look at artifacts and run nothing: what is in
// quarantine can still be attested.
func newInspector(cmd *cobra.Command, conn connection, host string) (*client, error) {
	c, err := newClient(cmd, conn, host)
	if err == nil {
		c.auth.Header.Set(server.HeaderQuarantine, server.Inspect)
	}
	return c, err
}

// dockerCredentials are what docker login left. Whoever has no home has no credentials.
func dockerCredentials() (credentials.Store, error) {
	if _, err := os.UserHomeDir(); err != nil && os.Getenv("DOCKER_CONFIG") == "" {
		return credentials.NewMemoryStore(), nil
	}
	store, err := credentials.NewStoreFromDocker(credentials.StoreOptions{})
	if err != nil {
		return nil, fmt.Errorf("docker's configuration: %w", err)
	}
	return store, nil
}

// dial makes a client of a host; it sends nothing yet.
func dial(host string, plain, insecure bool, store credentials.Store) *client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: insecure}
	transport.ResponseHeaderTimeout = headerTimeout
	return &client{
		host: host, plain: plain,
		auth: &auth.Client{
			Client:     &http.Client{Transport: transport},
			Header:     http.Header{"User-Agent": {"sluice/" + currentVersion().Version}},
			Credential: credentials.Credential(store),
			Cache:      auth.NewCache(),
		},
	}
}

// base is the server's URL.
func (c *client) base() string {
	if c.plain {
		return "http://" + c.host
	}
	return "https://" + c.host
}

// repository opens a repository, named with its tier, for oras-go.
func (c *client) repository(name string) (*remote.Repository, error) {
	repo := &remote.Repository{
		Client: c.auth, PlainHTTP: c.plain,
		Reference: registry.Reference{Registry: c.host, Repository: name},
		// A listing without an end must not keep a check busy for ever.
		ReferrerListMaxPages: 1000, TagListMaxPages: 1000,
		MaxMetadataBytes: maxAnswer,
	}
	if err := repo.Reference.ValidateRegistry(); err != nil {
		return nil, fmt.Errorf("host %q: %w", c.host, err)
	}
	return repo, nil
}

// apiError is an answer of the server that is an error, in the envelope of the
// distribution spec.
type apiError struct {
	host    string
	status  int
	code    string
	message string
	detail  json.RawMessage
}

func (e *apiError) Error() string {
	text := fmt.Sprintf("%s: %s (%s, status %d)", e.host, e.message, e.code, e.status)
	if e.status == http.StatusUnauthorized {
		text += fmt.Sprintf("; credentials come from docker's configuration: docker login %s", e.host)
	}
	return printable(text)
}

// denied takes what the registry said out of oras-go's error: it is the part that helps.
// Answers to HEAD have no body, so there only the status speaks.
func (c *client) denied(err error) error {
	var answer *errcode.ErrorResponse
	if !errors.As(err, &answer) {
		return c.unreachable(err)
	}
	e := &apiError{host: c.host, status: answer.StatusCode, code: "UNKNOWN", message: http.StatusText(answer.StatusCode)}
	if len(answer.Errors) > 0 {
		e.code, e.message = answer.Errors[0].Code, answer.Errors[0].Message
	}
	return e
}

// get asks the API and decodes the answer.
func (c *client) get(ctx context.Context, path string, query url.Values, into any) error {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	_, err := c.do(ctx, http.MethodGet, path, nil, nil, into)
	return err
}

// post sends a JSON document to the API and decodes the answer.
func (c *client) post(ctx context.Context, path string, header http.Header, body, into any) (*http.Response, error) {
	return c.do(ctx, http.MethodPost, path, header, body, into)
}

// do sends a request; path begins with /api/v1. The response's body is read already.
func (c *client) do(ctx context.Context, method, path string, header http.Header, body, into any) (*http.Response, error) {
	var reader io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", method, path, err)
		}
		reader = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base()+path, reader)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.auth.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("%s: read answer: %w", c.host, err)
	}
	if len(answer) > maxAnswer {
		return nil, fmt.Errorf("%s: the answer has more than %d bytes", c.host, maxAnswer)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return resp, c.failed(resp, answer)
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return nil, fmt.Errorf("%s: %s %s answered something that is not sluice's JSON: %w", c.host, method, path, err)
	}
	return resp, nil
}

// errAnonymous says that a server answers nobody without credentials.
var errAnonymous = errors.New("wants to know who you are")

// unreachable adds what may help to an error of the connection.
func (c *client) unreachable(err error) error {
	var op *net.OpError
	switch {
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return fmt.Errorf("%s %w: docker login %s", c.host, errAnonymous, c.host)
	case errors.As(err, &op) && op.Op == "dial":
		return fmt.Errorf("%s cannot be reached: %w; does a server run there? (sluice serve)", c.host, err)
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fmt.Errorf("%s speaks plain http: add --plain-http", c.host)
	}
	return fmt.Errorf("%s: %w", c.host, err)
}

func (c *client) failed(resp *http.Response, answer []byte) error {
	e := &apiError{host: c.host, status: resp.StatusCode, code: "UNKNOWN", message: http.StatusText(resp.StatusCode)}
	var envelope struct {
		Errors []struct {
			Code    string          `json:"code"`
			Message string          `json:"message"`
			Detail  json.RawMessage `json:"detail"`
		} `json:"errors"`
	}
	if json.Unmarshal(answer, &envelope) == nil && len(envelope.Errors) > 0 {
		first := envelope.Errors[0]
		e.code, e.message, e.detail = first.Code, first.Message, first.Detail
	}
	return e
}

// list reads all pages of a list of the API; name is the field that holds the items.
func list[T any](ctx context.Context, c *client, path, name string, query url.Values) ([]T, error) {
	if query == nil {
		query = url.Values{}
	}
	query.Set("n", fmt.Sprint(apiPageSize))
	all := []T{}
	for {
		var page map[string]json.RawMessage
		if err := c.get(ctx, path, query, &page); err != nil {
			return nil, err
		}
		var items []T
		if err := json.Unmarshal(page[name], &items); err != nil {
			return nil, fmt.Errorf("%s: %s: %q: %w", c.host, path, name, err)
		}
		all = append(all, items...)
		var next string
		if raw, ok := page["next"]; ok {
			if err := json.Unmarshal(raw, &next); err != nil {
				return nil, fmt.Errorf("%s: %s: next: %w", c.host, path, err)
			}
		}
		switch {
		case next == "":
			return all, nil
		case next == query.Get("last"):
			return nil, fmt.Errorf("%s: %s: the listing does not get past %q", c.host, path, next)
		}
		query.Set("last", next)
	}
}
