package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// limit is how long the tests of one mutant may take: one that hangs is noticed as well.
const limit = 5 * time.Minute

// atOnce is how many mutants are tried side by side: linking, most of the work, uses one
// core only.
const atOnce = 2

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	only := flag.String("only", "", "run the mutants whose file or description matches this `expression`")
	list := flag.Bool("list", false, "list the mutants and check that each can be made")
	flag.Parse()
	chosen, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	var picked []mutant
	for _, m := range mutants() {
		if _, err := m.broken(); err != nil {
			return err
		}
		if !chosen.MatchString(m.file + " " + m.breaks) {
			continue
		}
		picked = append(picked, m)
		if *list {
			fmt.Printf("%-40s %s\n", m.file, m.breaks)
		}
	}
	switch {
	case len(picked) == 0:
		return errors.New("there is no such mutant")
	case *list:
		fmt.Printf("%d mutants\n", len(picked))
		return nil
	}
	if err := unbroken(ctx, picked); err != nil {
		return err
	}
	return try(ctx, picked)
}

// try runs the mutants; one that no test notices is an error.
func try(ctx context.Context, picked []mutant) error {
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	start := time.Now()
	var killed, alive, unmade atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, m := range picked {
		group.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			overlay, err := m.overlay(fmt.Sprintf("%s/%d", dir, i))
			if err != nil {
				return err
			}
			test, err := m.test(ctx, overlay)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil:
				unmade.Add(1)
				fmt.Printf("UNMADE %-40s %s: %v\n", m.file, m.breaks, err)
			case test == "":
				alive.Add(1)
				fmt.Printf("ALIVE  %-40s %s\n", m.file, m.breaks)
			default:
				killed.Add(1)
				fmt.Printf("killed %-40s %s: %s\n", m.file, m.breaks, test)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	fmt.Printf("%d killed, %d alive, %d unmade in %s\n", killed.Load(), alive.Load(), unmade.Load(), time.Since(start).Round(time.Second))
	if alive.Load()+unmade.Load() > 0 {
		return errors.New("no test notices what is ALIVE above, and what is UNMADE does not compile")
	}
	return nil
}
