package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"sluice.dev/sluice/oci"
)

// failing adds routes that return err, one with and one without the meaning of /v2.
func (f *fixture) failing(path string, err error) {
	handler := func(echo.Context) error { return err }
	f.server.echo.Any("/v2/-/"+path, handler)
	f.server.echo.Any("/-/"+path, handler)
}

// TestErrorTable sends every row over the wire. The answers stand here a second time: a
// change of the table is a change of the contract.
func TestErrorTable(t *testing.T) {
	f := newFixture(t, nil)
	owed := map[error]string{
		errSlowClient: "408 TIMEOUT", errRouteUnknown: "404 NOT_FOUND", errRangeRefused: "416 RANGE_INVALID", oci.ErrTooManyTags: "414 UNSUPPORTED",
		errMediaType: "415 UNSUPPORTED", errPrecondition: "412 PRECONDITION_FAILED",
		oci.ErrUnauthorized: "401 UNAUTHORIZED", oci.ErrDenied: "403 DENIED", oci.ErrUnsupported: "405 UNSUPPORTED", oci.ErrTooManyRequests: "429 TOOMANYREQUESTS", oci.ErrQuotaExceeded: "403 DENIED",
		oci.ErrNameInvalid: "400 NAME_INVALID", oci.ErrTooLarge: "413 SIZE_INVALID", oci.ErrTagInvalid: "400 MANIFEST_INVALID", oci.ErrManifestInvalid: "400 MANIFEST_INVALID",
		oci.ErrDigestInvalid: "400 DIGEST_INVALID", oci.ErrSizeInvalid: "400 SIZE_INVALID", oci.ErrRangeInvalid: "416 BLOB_UPLOAD_INVALID",
		oci.ErrPolicyInvalid: "400 POLICY_INVALID", oci.ErrRequestInvalid: "400 REQUEST_INVALID",
		oci.ErrTierUnknown: "404 NAME_UNKNOWN", oci.ErrNameUnknown: "404 NAME_UNKNOWN", oci.ErrManifestReference: "404 MANIFEST_BLOB_UNKNOWN", oci.ErrManifestUnknown: "404 MANIFEST_UNKNOWN",
		oci.ErrBlobUnknown: "404 BLOB_UNKNOWN", oci.ErrUploadUnknown: "404 BLOB_UPLOAD_UNKNOWN", oci.ErrPromotionUnknown: "404 PROMOTION_UNKNOWN", oci.ErrPolicyUnknown: "404 POLICY_UNKNOWN", oci.ErrRunUnknown: "404 RUN_UNKNOWN", oci.ErrWebhookUnknown: "404 WEBHOOK_UNKNOWN",
		oci.ErrQuarantineUnknown: "404 QUARANTINE_UNKNOWN",
		oci.ErrRevocationUnknown: "404 REVOCATION_UNKNOWN",
		oci.ErrPolicyViolation:   "422 POLICY_VIOLATION", oci.ErrTagImmutable: "409 TAG_IMMUTABLE", oci.ErrUndecidable: "503 UNDECIDABLE", oci.ErrConflict: "409 CONFLICT",
		oci.ErrCorrupt: "500 UNKNOWN", oci.ErrObjectUnknown: "500 UNKNOWN", oci.ErrUnavailable: "503 UNAVAILABLE", context.DeadlineExceeded: "503 UNAVAILABLE",
		// One that is not the client's doing, for this client is still there.
		context.Canceled: "503 UNAVAILABLE",
		errClientGone:    "cut",
	}
	v2 := map[error]string{oci.ErrTagImmutable: "403 DENIED"}
	for i, r := range table() { // all routes before the first request
		f.failing(fmt.Sprint(i), fmt.Errorf("do something with secret.internal: %w", r.err))
	}
	for i, r := range table() {
		t.Run(r.err.Error(), func(t *testing.T) {
			f := *f
			f.T = t
			path := fmt.Sprint(i)
			for prefix, want := range map[string]string{"/-/": owed[r.err], "/v2/-/": v2[r.err]} {
				if want == "" {
					want = owed[r.err]
				}
				if want == "cut" {
					if got := f.try("POST", prefix+path, nil); got.status != 0 {
						t.Errorf("%s: got %d, want the connection cut", prefix, got.status)
					}
					continue
				}
				got := f.do("POST", prefix+path, nil)
				if s := fmt.Sprint(got.status, " ", got.code()); s != want {
					t.Errorf("%s: got %s, want %s", prefix, s, want)
				}
				if hides := strings.Contains(want, "UNKNOWN") && got.status == 500 || strings.Contains(want, "UNAVAILABLE"); hides == strings.Contains(string(got.body), "secret.internal") {
					t.Errorf("%s: hidden should be %v: %s", prefix, hides, got.body)
				}
				if (got.status == 503 || got.status == 429) != (got.header.Get("Retry-After") != "") {
					t.Errorf("%s: Retry-After is %q", prefix, got.header.Get("Retry-After"))
				}
				if (got.status == 401) != strings.HasPrefix(got.header.Get("WWW-Authenticate"), `Basic realm="sluice"`) {
					t.Errorf("%s: WWW-Authenticate is %q", prefix, got.header.Get("WWW-Authenticate"))
				}
				if head := f.do("HEAD", prefix+path, nil); head.status != got.status || len(head.body) > 0 {
					t.Errorf("%s: HEAD got %d and %q", prefix, head.status, head.body)
				}
			}
		})
	}
	if len(owed) != len(table()) {
		t.Errorf("%d rows are owed, the table has %d", len(owed), len(table()))
	}
}

func TestUnknownErrorIsLoggedOnce(t *testing.T) {
	f := newFixture(t, nil)
	f.failing("boom", errors.New("connect to 10.1.2.3: refused"))
	f.server.echo.GET("/-/panics", func(echo.Context) error { panic("out of cheese") })
	for path, cause := range map[string]string{"/-/boom": "10.1.2.3", "/-/panics": "out of cheese"} {
		got := f.want(f.do("GET", path, nil, "X-Request-Id", "abc-1"), 500, "UNKNOWN")
		if strings.Contains(string(got.body), cause) || !strings.Contains(string(got.body), "abc-1") {
			t.Errorf("%s: got %s, want the request's id and no cause", path, got.body)
		}
		logs := f.logs.String()
		if strings.Count(logs, cause) != 1 || !strings.Contains(logs, "id=abc-1") {
			t.Errorf("%s: logged %s, want the cause once with the id", path, logs)
		}
	}
	f.want(f.do("GET", "/v2/", nil), 200, "") // the server lives
}

func TestErrorDetail(t *testing.T) {
	f := newFixture(t, nil)
	f.failing("detail", withDetail(fmt.Errorf("%w: no provenance", oci.ErrPolicyViolation), map[string]string{"state": "Failed"}))
	got := f.want(f.do("POST", "/-/detail", nil), 422, "POLICY_VIOLATION")
	var e struct {
		Errors []struct{ Detail map[string]string }
	}
	if err := json.Unmarshal(got.body, &e); err != nil || e.Errors[0].Detail["state"] != "Failed" {
		t.Errorf("got %s, %v", got.body, err)
	}
}

func TestClientThatIsGoneGetsNothing(t *testing.T) {
	f := newFixture(t, nil)
	f.server.echo.GET("/-/gone", func(c echo.Context) error { <-c.Request().Context().Done(); return c.Request().Context().Err() })
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url+"/-/gone", nil)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if resp, err := http.DefaultClient.Do(r); err == nil {
		t.Errorf("got %v, want the connection cut", resp.Status)
	}
}
