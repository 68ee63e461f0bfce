package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asCommand makes the test binary the command itself, so that tests run real processes
// without building a second time.
const asCommand = "SLUICE_TEST_RUN_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
		return
	}
	if dir := os.Getenv(asReplica); dir != "" {
		os.Exit(replica(dir))
	}
	os.Exit(m.Run())
}

// sluice runs the command in this process.
func sluice(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &out, &errOut)
	return code, out.String(), errOut.String()
}

// process is the command in a process of its own.
type process struct {
	cmd    *exec.Cmd
	stdout chan string // lines; closed at the end
	stderr bytes.Buffer
}

// spawn starts the command; it ends with the test at the latest.
func spawn(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	return spawnAs(t, append(env, asCommand+"=1"), args...)
}

// spawnAs starts the test binary as what the environment says.
func spawnAs(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute) // for a test that hangs
	p := &process{cmd: exec.CommandContext(ctx, os.Args[0], args...), stdout: make(chan string, 1000)}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = &p.stderr
	pipe, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.read(pipe)
	t.Cleanup(func() {
		cancel()
		for range p.stdout { // until the process is gone
		}
	})
	return p
}

func (p *process) read(pipe io.Reader) {
	defer close(p.stdout)
	lines := bufio.NewScanner(pipe)
	for lines.Scan() {
		p.stdout <- lines.Text()
	}
}

// until reads output up to a line that holds text, and returns all of it.
func (p *process) until(t *testing.T, text string) string {
	t.Helper()
	var all strings.Builder
	for line := range p.stdout {
		all.WriteString(line + "\n")
		if strings.Contains(line, text) {
			return all.String()
		}
	}
	err := p.cmd.Wait()
	t.Fatalf("no line holds %q; it ended: %v\n%s\n%s", text, err, all.String(), &p.stderr)
	return ""
}

// stop asks the process to end and returns its exit code.
func (p *process) stop(t *testing.T) int {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	return p.wait()
}

// wait returns the exit code once the process has ended.
func (p *process) wait() int {
	for range p.stdout {
	}
	_ = p.cmd.Wait() // the code says it
	return p.cmd.ProcessState.ExitCode()
}

func TestWrongUse(t *testing.T) {
	file := write(t, t.TempDir(), "f", "{}")
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{nil, exitUsage, "a verb is missing"},
		{[]string{"frobnicate"}, exitUsage, `unknown verb "frobnicate"`},
		{[]string{"policy"}, exitUsage, "want one of apply, backtest"},
		{[]string{"policy", "tset"}, exitUsage, `unknown verb "tset"`},
		{[]string{"promote"}, exitUsage, "REF is missing"},
		{[]string{"promote", "--to", "stable"}, exitUsage, "REF is missing"},
		{[]string{"promote", "a", "b", "--to", "stable"}, exitUsage, `"b" is one argument too many`},
		{[]string{"promote", "h:1/dev/acme/app:1"}, exitUsage, "--to is missing"},
		{[]string{"promote", "h:1/dev/acme/app", "--to", "stable"}, exitUsage, "names no artifact"},
		{[]string{"promote", "app:1", "--to", "stable"}, exitUsage, "want HOST/TIER/REPOSITORY:TAG"},
		{[]string{"promote", "h:1/dev/acme/app:1", "--to", "dev"}, exitUsage, "name the tier above"},
		{[]string{"promote", "h:1/dev/acme/app:1", "--to", "stable", "--tag", "a b"}, exitUsage, "invalid tag"},
		{[]string{"promote", "h:1/dev/acme/app:1", "--to", "stable", "--force"}, exitUsage, "unknown flag: --force"},
		{[]string{"promote", "h:1/dev/acme/app:1", "--to", "stable", "-o", "xml"}, exitUsage, "want table or json"},
		{[]string{"attest", "h:1/dev/acme/app:1", "--type", "slsa", "--predicate", file, "--key", file}, exitUsage, "slsaprovenance1"},
		{[]string{"attest", "h:1/dev/acme/app:1", "--type", "spdxjson", "--key", file}, exitUsage, "--predicate is missing"},
		{[]string{"attest", "h:1/dev/acme/app:1", "--type", "spdxjson", "--predicate", "none", "--key", file}, exitFailed, "no such file"},
		{[]string{"attest", "h:1/dev/acme/app:1", "--type", "spdxjson", "--predicate", write(t, t.TempDir(), "p", "[1]"), "--key", file}, exitFailed, "want a JSON object"},
		{[]string{"attest", "h:1/dev/acme/app:1", "--type", "spdxjson", "--predicate", file, "--key", file}, exitFailed, "not a PEM block"},
		{[]string{"promote", "h:1/dev/acme/app:1", "--to", "stable", "--wait-for", "721h"}, exitUsage, "between 1s and 720h"},
		{[]string{"promote", "h:1/dev/acme/app:1", "--to", "stable", "--wait-for", "0s"}, exitUsage, "between 1s and 720h"},
		{[]string{"approve", "h:1/dev/acme/app:1", "--key", file}, exitUsage, "--to is missing"},
		{[]string{"approve", "h:1/dev/acme/app:1", "--to", "stable"}, exitUsage, "--key is missing"},
		{[]string{"approve", "h:1/dev/acme/app:1", "--to", "dev", "--key", file}, exitUsage, "name the tier above"},
		{[]string{"approve", "h:1/dev/acme/app:1", "--to", "stable", "--key", file}, exitFailed, "not a PEM block"},
		{[]string{"verify", "h:1/dev/acme/app:1"}, exitUsage, "--key is missing"},
		{[]string{"status", "127.0.0.1:1"}, exitUsage, "want HOST/REPOSITORY"},
		{[]string{"status", "127.0.0.1:1/acme/app:1.0"}, exitUsage, "without tier, tag and digest"},
		{[]string{"status", "127.0.0.1:1/acme/app"}, exitFailed, "does a server run there?"},
		{[]string{"policy", "lint"}, exitUsage, "FILE is missing"},
		{[]string{"gc", "now"}, exitUsage, `"now" is one argument too many`},
		{[]string{"gc", "-o", "xml"}, exitUsage, "want table or json"},
		{[]string{"gc", "--read-data"}, exitUsage, "unknown flag"},
		{[]string{"gc", "show"}, exitUsage, "ID is missing"},
		{[]string{"gc", "cancel"}, exitUsage, "ID is missing"},
		{[]string{"gc", "--registry", "127.0.0.1:1"}, exitFailed, "does a server run there?"},
		{[]string{"fsck", "list", "x"}, exitUsage, `"x" is one argument too many`},
		{[]string{"fsck", "--read-data-subset", "half"}, exitUsage, `subset "half": want a part`},
		{[]string{"fsck", "--read-data-subset", ""}, exitUsage, "--read-data-subset is empty"},
		{[]string{"fsck", "--read-data", "--read-data-subset", "1/5"}, exitUsage, "give one of them"},
		{[]string{"fsck", "--registry", "127.0.0.1:1"}, exitFailed, "does a server run there?"},
		{[]string{"policy", "lint", "none.yaml"}, exitFailed, "no such file"},
		{[]string{"policy", "test", file}, exitUsage, "--ref is missing"},
		{[]string{"ledger"}, exitUsage, "want one of show, verify"},
		{[]string{"ledger", "verify", "--dir", "."}, exitUsage, "--key is missing"},
		{[]string{"ledger", "verify", "--dir", ".", "--registry", "h:1", "--key", file}, exitUsage, "exclude each other"},
		{[]string{"ledger", "verify", "--key", file}, exitFailed, "not a PEM block"},
		{[]string{"ledger", "show", "now"}, exitUsage, `"now" is one argument too many`},
		{[]string{"ledger", "show", "--from", "-1"}, exitUsage, "entries begin at 0"},
		{[]string{"ledger", "show", "--limit", "0"}, exitUsage, "want at least 1"},
		{[]string{"ledger", "show", "--registry", "127.0.0.1:1"}, exitFailed, "does a server run there?"},
		{[]string{"webhook"}, exitUsage, "want one of list, replay"},
		{[]string{"webhook", "replay", "--from", "0"}, exitUsage, "NAME is missing"},
		{[]string{"webhook", "replay", "a"}, exitUsage, "--from is missing"},
		{[]string{"webhook", "replay", "a", "--from", "-1"}, exitUsage, "entries begin at 0"},
		{[]string{"webhook", "list", "--registry", "127.0.0.1:1"}, exitFailed, "does a server run there?"},
		{[]string{"events", "--registry", "127.0.0.1:1"}, exitFailed, "does a server run there?"},
		{[]string{"events", "now"}, exitUsage, `"now" is one argument too many`},
		{[]string{"events", "--from", "-1"}, exitUsage, "entries begin at 0"},
		{[]string{"events", "--limit", "0"}, exitUsage, "want at least 1"},
		{[]string{"serve", "now"}, exitUsage, `"now" is one argument too many`},
		{[]string{"serve", "--config", "none.yaml"}, exitFailed, "no such file"},
	} {
		t.Run(strings.Join(tc.args, " "), func(t *testing.T) {
			code, stdout, stderr := sluice(t, tc.args...)
			if code != tc.code || !strings.Contains(stderr, tc.want) {
				t.Errorf("exit code %d, want %d; stderr %q, want it to hold %q", code, tc.code, stderr, tc.want)
			}
			if stdout != "" {
				t.Errorf("something is on stdout: %q", stdout)
			}
		})
	}
}

func TestHelpAndVersion(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"help"}, {"promote", "--help"}, {"version"}, {"version", "-o", "json"}} {
		code, stdout, stderr := sluice(t, args...)
		if code != exitDone || stdout == "" || stderr != "" {
			t.Errorf("%v: exit code %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
	}
}
