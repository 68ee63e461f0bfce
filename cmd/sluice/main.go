package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes of every verb.
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2 // the command line is wrong
	exitRefused = 3 // the policy said no
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks for an orderly end; with the handler gone a second one kills.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole command: it returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	var usage *usageError
	switch {
	case errors.Is(err, errRefused):
		return exitRefused // what was said no to has been printed
	case errors.Is(err, errPrinted):
		return exitFailed
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "sluice: %v\n", err)
		if usage.help != "" {
			fmt.Fprintf(stderr, "Try: %s --help\n", usage.help)
		}
		return exitUsage
	}
	fmt.Fprintf(stderr, "sluice: %v\n", err)
	return exitFailed
}

// errRefused ends a verb whose answer was a policy's no.
var errRefused = errors.New("the policy said no")

// errPrinted ends a verb that failed and has printed why.
var errPrinted = errors.New("failed")

// usageError is a wrong use of the command.
type usageError struct {
	err  error
	help string // the command whose help says what would be right
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// wrongUse reports a wrong use of cmd.
func wrongUse(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...), help: cmd.CommandPath()}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "sluice",
		Short: "An OCI registry in which artifacts rise from tier to tier when signed evidence satisfies a policy",
		Long: `Sluice is an OCI registry with locks in it, like a canal: artifacts rise from dev to
stable to release, and a gate between two tiers opens only when signed attestations
attached to the artifact satisfy the policy of the tier above.

A REF is HOST/TIER/REPOSITORY:TAG or HOST/TIER/REPOSITORY@DIGEST.

Exit codes: 0 done, 1 failed, 2 wrong use, 3 the policy said no.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE:          needVerb,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return wrongUse(cmd, "%w", err) })
	root.AddCommand(
		serveCommand(), demoCommand(),
		promoteCommand(), rollbackCommand(), approveCommand(), evidenceCommand(), attestCommand(), verifyCommand(),
		statusCommand(), policyCommand(), pullsCommand(), quarantineCommand(), revokeCommand(), revocationCommand(),
		ledgerCommand(), eventsCommand(), webhookCommand(),
		gcCommand(), fsckCommand(), rebuildCommand(), versionCommand(),
	)
	return root
}

// needVerb is what a command that only holds others does.
func needVerb(cmd *cobra.Command, args []string) error {
	var verbs []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			verbs = append(verbs, sub.Name())
		}
	}
	list := strings.Join(verbs, ", ")
	if len(args) == 0 {
		return wrongUse(cmd, "a verb is missing: want one of %s", list)
	}
	return wrongUse(cmd, "unknown verb %q: want one of %s", args[0], list)
}

// exactly asks for as many arguments as there are names.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return wrongUse(cmd, "%s is missing: %s", names[len(args)], cmd.UseLine())
		case len(args) > len(names):
			return wrongUse(cmd, "%q is one argument too many: %s", args[len(names)], cmd.UseLine())
		}
		return nil
	}
}

// required asks for flags that have no default.
func required(cmd *cobra.Command, flags ...string) error {
	for _, name := range flags {
		if flag := cmd.Flags().Lookup(name); flag == nil || flag.Value.String() == "" {
			return wrongUse(cmd, "--%s is missing: %s", name, cmd.UseLine())
		}
	}
	return nil
}
