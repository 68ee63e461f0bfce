package server

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/tiers/runs"
)

// figures is a result that has figures.
type figures struct {
	Phase   string `json:"phase,omitempty"` // of a check
	numbers map[string]int64
}

func (f figures) Figures() map[string]int64 { return f.numbers }

// figuresOf is a result with numbers.
func figuresOf(numbers map[string]int64) figures { return figures{numbers: numbers} }

// paused is the work of a run that waits in the middle.
type paused struct {
	begun chan runs.Run
	open  chan struct{}
}

func pausedWork(a *apiFixture) *paused {
	p := &paused{make(chan runs.Run, 10), make(chan struct{})}
	a.work = func(ctx context.Context, run runs.Run, progress func(any)) (any, error) {
		progress(figures{Phase: "blobs"})
		p.begun <- run
		select {
		case <-p.open:
			return figuresOf(map[string]int64{FigureFindings: 3, FigureUnrepaired: 2}), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return p
}

// ended waits for the end of a run.
func ended(a *apiFixture, path string) runs.Run {
	a.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if run := get[runs.Run](a, path); run.State.Ended() {
			return run
		}
	}
	a.Fatal("it does not end")
	return runs.Run{}
}

// runPaths are the two kinds of runs.
func runPaths() map[string]runs.Kind {
	return map[string]runs.Kind{"/api/v1/collections": runs.Collection, "/api/v1/checks": runs.Check}
}

// A run is answered when it has ended, however it did.
func TestRunsWait(t *testing.T) {
	a := newAPI(t, nil)
	for path, kind := range runPaths() {
		got := a.want(a.post(path, "{}"), 201, "")
		run := decodeAnswer[runs.Run](a, got)
		if run.State != runs.Succeeded || run.Kind != kind || run.Actor != Anonymous || run.Figures[FigureFreed] != 7 || run.Result == nil {
			t.Errorf("%s: %s", path, got.body)
		}
		if want := path + "/" + run.ID; got.header.Get("Location") != want || got.header.Get("Preference-Applied") != "" {
			t.Errorf("%s: headers %v", path, got.header)
		}
		if again := get[runs.Run](a, path+"/"+run.ID); again.ID != run.ID || again.Result == nil {
			t.Errorf("%s: later it is %+v", path, again)
		}
	}
	a.work = func(context.Context, runs.Run, func(any)) (any, error) {
		return figuresOf(map[string]int64{FigureFreed: 1}), errors.New("page 3 is missing")
	}
	got := a.want(a.post("/api/v1/collections", `{"dryRun":true}`), 201, "")
	if run := decodeAnswer[runs.Run](a, got); run.State != runs.Failed || run.Error != "page 3 is missing" || string(run.Options) != `{"dryRun":true}` || run.Result == nil {
		t.Errorf("one that fails: %s", got.body)
	}
}

// Whoever does not want to wait gets the run as it begins. Another meanwhile is told which
// one is running, and the run can be cancelled.
func TestRunsInTheBackground(t *testing.T) {
	a := newAPI(t, nil)
	p := pausedWork(a)
	for path := range runPaths() {
		got := a.want(a.post(path, "{}", "Prefer", "respond-async"), 202, "")
		run := decodeAnswer[runs.Run](a, got)
		if run.State != runs.Running || got.header.Get("Location") != path+"/"+run.ID || got.header.Get("Preference-Applied") != "respond-async" {
			t.Errorf("%s: %s %v", path, got.body, got.header)
		}
		<-p.begun
		refused := a.want(a.post(path, "{}"), 409, "CONFLICT")
		if refused.header.Get("Location") != path+"/"+run.ID || !strings.Contains(string(refused.body), run.ID+" of anonymous is running since ") {
			t.Errorf("%s: a second: %s %v", path, refused.body, refused.header)
		}
		told := decodeAnswer[runs.Run](a, a.want(a.call("DELETE", path+"/"+run.ID, ""), 202, ""))
		if told.State != runs.Running || told.CancelledBy != Anonymous {
			t.Errorf("%s: told to stop it is %+v", path, told)
		}
		if run := ended(a, path+"/"+run.ID); run.State != runs.Interrupted || run.CancelledBy != Anonymous || run.Error == "" {
			t.Errorf("%s: cancelled it is %+v", path, run)
		}
		a.want(a.call("DELETE", path+"/"+run.ID, ""), 409, "CONFLICT")
	}
}

// A run goes on when the client that waits for it is gone.
func TestRunOutlivesItsClient(t *testing.T) {
	a := newAPI(t, nil)
	p := pausedWork(a)
	ctx, cancel := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, "POST", a.url+"/api/v1/checks", strings.NewReader(`{"readData":true}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	gone := make(chan error)
	go func() {
		response, err := a.client.Do(request)
		if err == nil {
			response.Body.Close()
		}
		gone <- err
	}()
	run := <-p.begun
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Fatalf("the client got %v", err)
	}
	// The server has noticed when the request is in its log.
	for deadline := time.Now().Add(time.Minute); !strings.Contains(a.logs.String(), "status=499"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not notice")
		}
	}
	if got := get[runs.Run](a, "/api/v1/checks/"+run.ID); got.State != runs.Running {
		t.Errorf("it is %+v", got)
	}
	close(p.open)
	if got := ended(a, "/api/v1/checks/"+run.ID); got.State != runs.Succeeded {
		t.Errorf("it ends as %+v", got)
	}
}

func TestRunLists(t *testing.T) {
	a := newAPI(t, nil)
	var ids []string
	for range 5 {
		ids = append(ids, decodeAnswer[runs.Run](a, a.want(a.post("/api/v1/collections", "{}"), 201, "")).ID)
	}
	type page struct {
		Collections []runs.Run
		Next        string
	}
	first := get[page](a, "/api/v1/collections?n=3")
	if len(first.Collections) != 3 || first.Collections[0].ID != ids[4] || first.Next != ids[2] {
		t.Errorf("first page %+v", first)
	}
	if got := first.Collections[0]; got.Result != nil || got.Figures[FigureFreed] != 7 {
		t.Errorf("it lists %+v", got)
	}
	second := get[page](a, "/api/v1/collections?n=3&last="+first.Next)
	if len(second.Collections) != 2 || second.Collections[1].ID != ids[0] || second.Next != "" {
		t.Errorf("second page %+v", second)
	}
	if got := a.want(a.call("GET", "/api/v1/checks", ""), 200, ""); strings.TrimSpace(string(got.body)) != `{"checks":[]}` {
		t.Errorf("no checks are %s", got.body)
	}
	if got := a.call("HEAD", "/api/v1/collections/"+ids[0], ""); got.status != 200 || len(got.body) > 0 {
		t.Errorf("HEAD: %d %q", got.status, got.body)
	}
}

func TestRunRequests(t *testing.T) {
	a := newAPI(t, nil)
	for _, tt := range []struct {
		method, path, body string
		status             int
		code, message      string
	}{
		{"POST", "/api/v1/collections", ``, 400, "REQUEST_INVALID", ""},
		{"POST", "/api/v1/collections", `{"dryrun":true}`, 400, "REQUEST_INVALID", "dryrun"},
		{"POST", "/api/v1/collections", `{"dryRun":"yes"}`, 400, "REQUEST_INVALID", ""},
		{"POST", "/api/v1/collections", `{"dryRun":true,"dryRun":false}`, 400, "REQUEST_INVALID", ""},
		{"POST", "/api/v1/collections", `{} {}`, 400, "REQUEST_INVALID", ""},
		{"POST", "/api/v1/collections?dryRun=true", `{}`, 400, "REQUEST_INVALID", "dryRun"},
		{"POST", "/api/v1/checks", `{"dryRun":true}`, 400, "REQUEST_INVALID", "dryRun"},
		{"POST", "/api/v1/checks", `{"readData":true,"subset":"6/5"}`, 400, "REQUEST_INVALID", "want a part"},
		{"POST", "/api/v1/checks", `{"readData":true,"subset":"half"}`, 400, "REQUEST_INVALID", "want a part"},
		{"POST", "/api/v1/checks", `{"ledger":true,"repair":true}`, 400, "REQUEST_INVALID", "leave readData and repair out"},
		{"POST", "/api/v1/checks", `{"subset":"1/5"}`, 400, "REQUEST_INVALID", "readData is not true"},
		{"POST", "/api/v1/checks", `{"readData":true,"subset":"1/5"}`, 201, "", ""},
		{"POST", "/api/v1/checks", `{"repair":true}`, 201, "", ""},
		{"GET", "/api/v1/checks?n=0", ``, 400, "REQUEST_INVALID", ""},
		{"GET", "/api/v1/checks?state=Failed", ``, 400, "REQUEST_INVALID", "state"},
		{"GET", "/api/v1/checks/none", ``, 404, "RUN_UNKNOWN", "none"},
		{"GET", "/api/v1/checks/a%2Fb", ``, 404, "RUN_UNKNOWN", ""},
		{"GET", "/api/v1/checks/none?x=1", ``, 400, "REQUEST_INVALID", ""},
		{"DELETE", "/api/v1/checks/none", ``, 404, "RUN_UNKNOWN", ""},
		{"DELETE", "/api/v1/checks", ``, 405, "UNSUPPORTED", ""},
		{"PUT", "/api/v1/collections/none", ``, 405, "UNSUPPORTED", ""},
	} {
		call := a.call
		if tt.method == "POST" {
			call = func(_, path, body string, headers ...string) reply { return a.post(path, body, headers...) }
		}
		if got := call(tt.method, tt.path, tt.body); got.status != tt.status || got.code() != tt.code || !strings.Contains(string(got.body), tt.message) {
			t.Errorf("%s %s %s: got %d %s, want %d %s and %q", tt.method, tt.path, tt.body, got.status, got.body, tt.status, tt.code, tt.message)
		}
	}
	a.want(a.call("POST", "/api/v1/collections", `{}`, "Content-Type", "text/plain"), 415, "UNSUPPORTED")
	a.want(a.post("/api/v1/collections", `{}`, "Origin", "https://evil.example.com"), 403, "DENIED")
}

// Runs are for those who administer all there is. Whoever may not learns nothing: not whether
// his request was right, nor whether there is such a run.
func TestRunAccess(t *testing.T) {
	a := newAPI(t, withUsers(t,
		Grant{Users: []string{"root"}, Actions: []Action{ActionAdmin}},
		Grant{Users: []string{"globs"}, Tiers: []string{"*"}, Repositories: []string{"**"}, Actions: []Action{ActionAdmin}},
		Grant{Users: []string{"devs"}, Tiers: []string{"dev"}, Actions: []Action{ActionAdmin}},
		Grant{Users: []string{"acme"}, Repositories: []string{"acme/**"}, Actions: []Action{ActionAdmin}},
		Grant{Users: []string{"all"}, Actions: []Action{ActionPull, ActionPush, ActionDelete, ActionPromote, ActionApprove, ActionPolicy}},
	))
	a.user = "root:root"
	run := decodeAnswer[runs.Run](a, a.want(a.post("/api/v1/collections", "{}"), 201, ""))
	if run.Actor != "root" {
		t.Errorf("it is of %s", run.Actor)
	}
	for _, tt := range []struct {
		user   string
		status int // 0: as for root
	}{{"", 401}, {"nobody", 403}, {"devs", 403}, {"acme", 403}, {"all", 403}, {"globs", 0}} {
		a.user = tt.user + ":" + tt.user
		if tt.user == "" {
			a.user = ""
		}
		for _, call := range []struct {
			method, path, body string
			status             int
		}{
			{"POST", "/api/v1/collections", `{}`, 201}, {"POST", "/api/v1/collections", `no`, 400},
			{"POST", "/api/v1/checks", `{}`, 201}, {"POST", "/api/v1/checks", `{"subset":"x"}`, 400},
			{"GET", "/api/v1/collections", "", 200}, {"GET", "/api/v1/checks", "", 200}, {"GET", "/api/v1/collections?x=1", "", 400},
			{"GET", "/api/v1/collections/" + run.ID, "", 200}, {"GET", "/api/v1/collections/none", "", 404}, {"GET", "/api/v1/checks/" + run.ID, "", 404},
			{"DELETE", "/api/v1/collections/" + run.ID, "", 409}, {"DELETE", "/api/v1/collections/none", "", 404},
		} {
			want := call.status
			if tt.status != 0 {
				want = tt.status
			}
			var headers []string
			if call.method == "POST" {
				headers = []string{"Content-Type", "application/json"}
			}
			if got := a.call(call.method, call.path, call.body, headers...); got.status != want {
				t.Errorf("%q: %s %s %s: got %d %s, want %d", tt.user, call.method, call.path, call.body, got.status, got.body, want)
			}
		}
	}
}

// What runs came to is in the metrics.
func TestRunMetrics(t *testing.T) {
	a := newAPI(t, nil)
	metrics := func() string { return string(a.want(a.call("GET", "/metrics", ""), 200, "").body) }
	has := func(when string, lines ...string) {
		t.Helper()
		got := metrics()
		for _, line := range lines {
			if !strings.Contains(got, "\n"+line) {
				t.Errorf("%s there is no %s", when, line)
			}
		}
	}
	has("before any", `sluice_runs_total{kind="check",state="Failed"} 0`, `sluice_run_in_progress{kind="check"} 0`, `sluice_collection_freed_bytes_total 0`)
	a.want(a.post("/api/v1/collections", "{}"), 201, "")
	p := pausedWork(a)
	run := decodeAnswer[runs.Run](a, a.want(a.post("/api/v1/checks", "{}", "Prefer", "respond-async"), 202, ""))
	<-p.begun
	has("meanwhile", `sluice_run_in_progress{kind="check"} 1`, `sluice_run_in_progress{kind="collection"} 0`)
	close(p.open)
	ended(a, "/api/v1/checks/"+run.ID)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _ = a.server.config.Runs.Run(ctx) }() // learns what the last one was
	for deadline := time.Now().Add(time.Minute); !strings.Contains(metrics(), "\nsluice_check_last_findings "); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not learn of the last check")
		}
	}
	has("after one of each", `sluice_runs_total{kind="check",state="Succeeded"} 1`, `sluice_runs_total{kind="collection",state="Succeeded"} 1`,
		`sluice_collection_freed_bytes_total 7`, `sluice_check_last_findings 3`, `sluice_check_last_findings_unrepaired 2`,
		`sluice_run_last_success_timestamp_seconds{kind="check"} 1`, `sluice_run_last_duration_seconds{kind="collection"} `)
}
