package main

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/server/events"
)

const pathWebhooks = "/api/v1/webhooks"

func webhookCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "webhook",
		Short: "Look after the webhooks that events are delivered to",
		Args:  cobra.ArbitraryArgs,
		RunE:  needVerb,
	}
	cmd.AddCommand(webhookListCommand(), webhookReplayCommand())
	return cmd
}

func webhookListCommand() *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the webhooks, how far each has come, and what its receiver said",
		Long: `List the webhooks of the configuration. CURSOR is the index in the ledger of the first entry
that is not done with, BEHIND how many there are from there on. A webhook is Failing where an
event was not taken for longer than its failAfter; it is tried again all the same, and nothing
is lost. One that is Disabled has answered 410: it gets nothing more until another receiver or
secret is configured, or it is replayed.`,
		Example: "  sluice webhook list --registry 127.0.0.1:5000",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := t.client(cmd)
			if err != nil {
				return err
			}
			all, err := list[events.Status](cmd.Context(), c, pathWebhooks, "webhooks", nil)
			if err != nil {
				return err
			}
			return t.out.print(cmd, all, func(p *printer) { p.webhooks(all) })
		},
	}
	t.flag(cmd)
	return cmd
}

func webhookReplayCommand() *cobra.Command {
	var t target
	var from int64
	cmd := &cobra.Command{
		Use:   "replay NAME --from INDEX",
		Short: "Have a webhook deliver from an entry of the ledger on",
		Long: `Set the cursor of a webhook: what comes from there on is delivered, again where it was before.
An index beyond the cursor leaves out what is between, an event say that its receiver will never
take. sluice ledger show and sluice webhook list tell indexes.`,
		Example: "  sluice webhook replay deploy --from 0 --registry 127.0.0.1:5000",
		Args:    exactly("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("from") {
				return wrongUse(cmd, "--from is missing: %s", cmd.UseLine())
			}
			if from < 0 {
				return wrongUse(cmd, "--from %d: entries begin at 0", from)
			}
			c, err := t.client(cmd)
			if err != nil {
				return err
			}
			var status events.Status
			body := map[string]int64{"from": from}
			if _, err := c.post(cmd.Context(), pathWebhooks+"/"+url.PathEscape(args[0])+"/replay", nil, body, &status); err != nil {
				return err
			}
			return t.out.print(cmd, status, func(p *printer) { p.line("%s delivers from entry %d on.", printable(status.Name), from) })
		},
	}
	cmd.Flags().Int64Var(&from, "from", 0, "index of the first entry to deliver")
	t.flag(cmd)
	return cmd
}

// webhooks prints how webhooks go.
func (p *printer) webhooks(all []events.Status) {
	if len(all) == 0 {
		p.line("There are none. They are configured, under webhooks.")
		return
	}
	rows := make([][]cell, len(all))
	for i, w := range all {
		style := map[events.State]string{events.Active: green, events.Retrying: amber, events.Failing: red, events.Disabled: red}[w.State]
		rows[i] = []cell{plain("%s", printable(w.Name)), styled(style, "%s", printable(string(w.State))), plain("%s", numberOrDash(w.Cursor)),
			plain("%s", numberOrDash(w.Behind)), plain("%s", printable(lastAnswer(w))), plain("%s", printable(w.URL))}
	}
	p.table("", []string{"NAME", "STATE", "CURSOR", "BEHIND", "LAST ANSWER", "URL"}, rows)
}

func numberOrDash(n *int64) string {
	if n == nil {
		return "–"
	}
	return fmt.Sprint(*n)
}

// lastAnswer is what a receiver said last, in a few words.
func lastAnswer(w events.Status) string {
	if w.Problem != "" {
		return w.Problem
	}
	if w.Answer == nil {
		return "–"
	}
	when := w.Answer.At.Local().Format("2006-01-02 15:04:05")
	if w.Answer.Error == "" {
		return fmt.Sprintf("%d at %s", w.Answer.Status, when)
	}
	text := fmt.Sprintf("%s at %s", strings.TrimPrefix(w.Answer.Error, "it answered "), when)
	if w.NextTry != nil {
		text += ", next " + w.NextTry.Local().Format("15:04:05")
	}
	return text
}
