// Command bench measures the registry from outside, beside the store that it stands on and
// another registry on that store, and prints what is owed and what was measured as a table
// of markdown.
//
//	go run ./tests/bench [-only push,pull] [-rounds 5] [-json FILE]
//
// It starts everything itself, as processes of their own on loopback addresses: etcd with
// fsync, one S3 server, the reference registry, and sluice as make build makes it. The
// contenders take turns, a round each, after one round that warms up and does not count.
// A ratio is the median of the ratios within the rounds. CPU seconds and memory are those
// of the server's process alone.
//
// It exits with 1 when something could not be measured, not when a figure is missed: the
// table says that, and a busy machine misses some.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == bareVerb {
		fmt.Fprintln(os.Stderr, serveBare(os.Args[2:]))
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// parse reads the flags.
func parse(args []string, stderr io.Writer) (s settings, file string, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	only := flags.String("only", strings.Join(names(), ","), "what to measure, with commas between")
	flags.IntVar(&s.rounds, "rounds", 5, "rounds that count")
	flags.Float64Var(&s.seconds, "seconds", 5, "how long a contender reads manifests, tags or referrers in a round")
	flags.IntVar(&s.largeMiB, "large-mib", 256, "size of a large layer, MiB")
	flags.IntVar(&s.images, "images", 200, "small images that a contender pushes in a round")
	flags.IntVar(&s.tags, "tags", 1_000_000, "tags of the large repository")
	flags.IntVar(&s.referrers, "referrers", 10_000, "referrers of the large subject")
	flags.IntVar(&s.uploads, "uploads", 64, "uploads at once while memory is measured")
	flags.IntVar(&s.uploadMiB, "upload-mib", 1024, "size of each of them, MiB")
	noPeer := flags.Bool("no-peer", false, "leave the other registry out")
	noRedirect := flags.Bool("no-redirect", false, "leave redirected pulls out")
	flags.StringVar(&file, "json", "", "write machine, rows and samples to this `file`")
	if err := flags.Parse(args); err != nil {
		return s, "", err
	}
	if flags.NArg() > 0 {
		return s, "", fmt.Errorf("%q is no flag", flags.Arg(0))
	}
	s.only, s.withPeer, s.withRedirect = strings.Split(*only, ","), !*noPeer, !*noRedirect
	for _, name := range s.only {
		if !slices.Contains(names(), name) {
			return s, "", fmt.Errorf("-only: there is no %q, only %s", name, strings.Join(names(), ", "))
		}
	}
	for _, n := range []int{s.rounds, s.largeMiB, s.images, s.tags, s.referrers, s.uploads, s.uploadMiB} {
		if n < 1 {
			return s, "", errors.New("numbers begin at 1")
		}
	}
	if !(s.seconds > 0) {
		return s, "", errors.New("-seconds: want more than 0")
	}
	if s.tags <= fewTags {
		return s, "", fmt.Errorf("-tags: want more than %d, which the smaller repository has", fewTags)
	}
	return s, file, nil
}

// run returns the exit code: 0 when everything was measured, 1 when not, 2 for wrong use.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, file, err := parse(args, stderr)
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(stderr, "bench:", err)
		}
		return 2
	}
	if err := report(ctx, s, file, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	return 0
}

// report measures and prints. What was measured in all rounds is printed whatever failed.
func report(ctx context.Context, s settings, file string, stdout, stderr io.Writer) error {
	m, err := describe(ctx)
	if err != nil {
		return err
	}
	o, err := newOwner()
	if err != nil {
		return err
	}
	defer o.Close()
	all, err := start(ctx, o, s.withPeer, s.withRedirect)
	if err != nil {
		return err
	}
	b := &bench{settings: s, servers: all, progress: stderr, results: results{}}
	failed := b.run(ctx)
	m.render(stdout, s.rounds)
	renderTable(stdout, b.rows)
	if file == "" {
		return failed
	}
	data, err := json.MarshalIndent(struct {
		Machine machine `json:"machine"`
		Rows    []row   `json:"rows"`
		Samples results `json:"samples"`
	}{m, b.rows, b.results}, "", "  ")
	if err != nil {
		return errors.Join(failed, err)
	}
	return errors.Join(failed, os.WriteFile(file, append(data, '\n'), 0o644))
}
