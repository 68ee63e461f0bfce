package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/tiers/runs"
)

// maxRunSilence is how many answers in a row may be missing of a run that is waited for: a
// minute's worth. The registry may be restarted meanwhile.
const maxRunSilence = 30

// job is a verb about runs of a kind.
type job struct {
	verb   string // gc
	one    string // collection
	plural string // collections, in paths and lists
	// progress says in a line how far a run is.
	progress func(r runs.Run) string
	// report prints what one came to that has ended, and outcome says by its error how the verb
	// ends after one that succeeded.
	report  func(p *printer, r runs.Run)
	outcome func(r runs.Run) error
	// figures says in a few words what one came to.
	figures func(r runs.Run) string
}

func (j *job) path() string { return "/api/v1/" + j.plural }

// target is the flags that say which registry is asked, and how the answer is printed.
type target struct {
	out  output
	conn connection
	host string
}

func (t *target) flag(cmd *cobra.Command) {
	registryFlag(cmd, &t.host)
	t.out.flag(cmd)
	t.conn.flag(cmd)
}

func (t *target) client(cmd *cobra.Command) (*client, error) {
	if err := t.out.check(cmd); err != nil {
		return nil, err
	}
	return newClient(cmd, t.conn, t.host)
}

// subcommands are those about runs that there are.
func (j *job) subcommands(cmd *cobra.Command) {
	cmd.AddCommand(j.listCommand(), j.showCommand(), j.cancelCommand())
}

func (j *job) listCommand() *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use:     "list",
		Short:   fmt.Sprintf("List %s, the newest first", j.plural),
		Example: fmt.Sprintf("  sluice %s list --registry 127.0.0.1:5000", j.verb),
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := t.client(cmd)
			if err != nil {
				return err
			}
			all, err := list[runs.Run](cmd.Context(), c, j.path(), j.plural, nil)
			if err != nil {
				return err
			}
			return t.out.print(cmd, all, func(p *printer) { p.runs(j, all) })
		},
	}
	t.flag(cmd)
	return cmd
}

func (j *job) showCommand() *cobra.Command {
	var t target
	var follow bool
	cmd := &cobra.Command{
		Use:     "show ID",
		Short:   fmt.Sprintf("Show how a %s goes, or went", j.one),
		Long:    fmt.Sprintf("Show how a %s goes, or went. It exits as sluice %s does.", j.one, j.verb),
		Example: fmt.Sprintf("  sluice %s show 01KAS0Z6Y3T6Q2W8V4N5M7R9XB --follow", j.verb),
		Args:    exactly("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.client(cmd)
			if err != nil {
				return err
			}
			var run runs.Run
			if err := c.get(cmd.Context(), j.path()+"/"+url.PathEscape(args[0]), nil, &run); err != nil {
				return err
			}
			if follow {
				return j.follow(cmd, c, t.out, run)
			}
			return j.print(cmd, t.out, run)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "wait for its end")
	t.flag(cmd)
	return cmd
}

func (j *job) cancelCommand() *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use:     "cancel ID",
		Short:   fmt.Sprintf("Tell a %s to stop", j.one),
		Long:    fmt.Sprintf("Tell a %s to stop. It does so some time later; what it has done stays done.", j.one),
		Example: fmt.Sprintf("  sluice %s cancel 01KAS0Z6Y3T6Q2W8V4N5M7R9XB", j.verb),
		Args:    exactly("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.client(cmd)
			if err != nil {
				return err
			}
			var run runs.Run
			if _, err := c.do(cmd.Context(), http.MethodDelete, j.path()+"/"+url.PathEscape(args[0]), nil, nil, &run); err != nil {
				return err
			}
			return t.out.print(cmd, run, func(p *printer) {
				p.line("%s %s was told to stop.", j.one, run.ID)
			})
		},
	}
	t.flag(cmd)
	return cmd
}

// begin begins a run and, unless detached, waits for its end.
func (j *job) begin(cmd *cobra.Command, t target, options any, detach bool) error {
	c, err := t.client(cmd)
	if err != nil {
		return err
	}
	var run runs.Run
	_, err = c.post(cmd.Context(), j.path(), http.Header{"Prefer": {"respond-async"}}, options, &run)
	var failed *apiError
	if errors.As(err, &failed) && failed.code == "CONFLICT" && json.Unmarshal(failed.detail, &run) == nil && run.ID != "" {
		return fmt.Errorf("%w; follow it with: %s", err, j.hint(c, "show", run.ID+" --follow"))
	}
	if err != nil {
		return err
	}
	if !detach {
		return j.follow(cmd, c, t.out, run)
	}
	return t.out.print(cmd, run, func(p *printer) {
		p.line("%s %s has begun.", j.one, run.ID)
		p.line("Look at it with: %s", j.hint(c, "show", run.ID))
	})
}

// hint is a command about a run, as it would be typed.
func (j *job) hint(c *client, what, args string) string {
	text := fmt.Sprintf("sluice %s %s %s", j.verb, what, args)
	if c.host != defaultRegistry {
		text += " --registry " + c.host
	}
	return text
}

// follow shows how a run goes on until it has ended, and prints its end.
func (j *job) follow(cmd *cobra.Command, c *client, out output, run runs.Run) error {
	progress := newProgress(cmd.ErrOrStderr())
	run, err := j.await(cmd.Context(), c, run, func(r runs.Run) { progress.say(j.progress(r)) })
	progress.clear()
	if err != nil {
		return err
	}
	return j.print(cmd, out, run)
}

// await looks at a run until it has ended.
func (j *job) await(ctx context.Context, c *client, run runs.Run, show func(runs.Run)) (runs.Run, error) {
	pause, silence := firstPoll, 0
	for !run.State.Ended() {
		show(run)
		select {
		case <-ctx.Done():
			return run, fmt.Errorf("%s %s goes on at the server; look at it with: %s; stop it with: %s: %w",
				j.one, run.ID, j.hint(c, "show", run.ID), j.hint(c, "cancel", run.ID), ctx.Err())
		case <-time.After(pause):
		}
		pause = min(pause*3/2, lastPoll)
		var now runs.Run
		if err := c.get(ctx, j.path()+"/"+url.PathEscape(run.ID), nil, &now); err != nil {
			var answer *apiError
			refused := errors.As(err, &answer) && answer.status < http.StatusInternalServerError
			if silence++; ctx.Err() != nil || !refused && silence < maxRunSilence {
				continue
			}
			return run, fmt.Errorf("%s %s: %w", j.one, run.ID, err)
		}
		run, silence = now, 0
	}
	return run, nil
}

// print prints a run, and says by the error how the verb ends.
func (j *job) print(cmd *cobra.Command, out output, run runs.Run) error {
	if err := out.print(cmd, run, func(p *printer) { j.show(p, run) }); err != nil {
		return err
	}
	switch run.State {
	case runs.Running:
		return nil
	case runs.Succeeded:
		return j.outcome(run)
	}
	return fmt.Errorf("%s %s did not come to its end: %s", j.one, run.ID, printable(orDash(run.Error)))
}

// show prints a run for people.
func (j *job) show(p *printer, r runs.Run) {
	if r.State.Ended() {
		j.report(p, r)
		return
	}
	p.line("%s %s of %s is running since %s: %s.", j.one, r.ID, printable(r.Actor), r.StartedAt.Local().Format("2006-01-02 15:04:05"), j.progress(r))
	if r.CancelledBy != "" {
		p.line("%s told it to stop.", printable(r.CancelledBy))
	}
}

// runs prints a list of runs.
func (p *printer) runs(j *job, all []runs.Run) {
	rows := make([][]cell, len(all))
	for i, r := range all {
		style := map[runs.State]string{runs.Succeeded: green, runs.Failed: red, runs.Interrupted: amber}[r.State]
		came := printable(r.Error)
		if r.State == runs.Succeeded {
			came = j.figures(r)
		}
		rows[i] = []cell{plain("%s", r.ID), plain("%s", r.StartedAt.Local().Format("2006-01-02 15:04:05")), plain("%s", r.Took(time.Now()).Round(time.Second)),
			plain("%s", printable(r.Actor)), styled(style, "%s", r.State), plain("%s", came)}
	}
	p.table("", []string{"ID", "BEGAN", "TOOK", "BY", "STATE", "CAME TO"}, rows)
}
