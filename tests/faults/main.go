package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	o := options{}
	flags := flag.NewFlagSet("faults", flag.ContinueOnError)
	flags.Int64Var(&o.seed, "seed", 0, "of what clients do and which faults come; 0: by the clock")
	flags.DurationVar(&o.duration, "duration", time.Minute, "how long rounds are begun")
	flags.DurationVar(&o.round, "round", 20*time.Second, "how long clients work in bad weather between two checks")
	flags.DurationVar(&o.calm, "calm", 5*time.Second, "how long they work before that while nothing fails and garbage is collected all the time")
	flags.IntVar(&o.clients, "clients", 16, "who work at once")
	flags.BoolVar(&o.race, "race", false, "build the registry with the race detector")
	flags.StringVar(&o.dir, "dir", "", "keep journal, logs and data here; empty: in a directory that goes when all is well")
	tallyFile := flags.String("tally", "", "file that adds up the figures of all runs")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.seed == 0 {
		o.seed = time.Now().UnixNano() % 1_000_000
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	owner, err := newOwner(o.dir)
	if err != nil {
		return err
	}
	o.log = os.Stdout
	figures, err := storm(ctx, owner, o)
	owner.close(err == nil && len(figures.Violations) == 0 && o.dir == "")
	if err != nil {
		return fmt.Errorf("seed %d: %w (see %s)", o.seed, err, owner.dir)
	}
	figures.print(os.Stdout)
	if *tallyFile != "" {
		sum, err := figures.addTo(*tallyFile)
		if err != nil {
			return err
		}
		fmt.Println("\nwith the runs before it:")
		sum.print(os.Stdout)
	}
	if n := len(figures.Violations); n > 0 {
		return fmt.Errorf("seed %d: %d violations (see %s)", o.seed, n, owner.dir)
	}
	return nil
}
