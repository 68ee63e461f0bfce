package tiers_test

import (
	"bytes"
	"testing"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// Bytes that are nowhere can be pushed again once a check has made room for them: nobody is
// told that the registry has what it has lost.
func TestCheckPushAgain(t *testing.T) {
	t.Parallel()
	c := newChecked(t, nil)
	_, body, err := c.dev.Manifest(t.Context(), "lonely")
	if err != nil {
		t.Fatal(err)
	}
	c.deleteObject(c.dev.Tier, c.object(c.dev.Tier, c.layer.Digest))
	c.overwrite(c.dev.Tier, c.lonely.Digest, bytes.ToUpper(body))
	found := c.check(tiers.CheckOptions{Repair: true})
	c.want("repaired", found, "object-corrupt", "object-missing")
	for _, f := range found.Findings {
		if f.Repaired || f.Problem == "" || len(f.Affected) != 1 || f.Affected[0] != "dev/acme/app@"+c.lonely.Digest.String()+" (lonely)" {
			t.Errorf("got %+v", f)
		}
	}
	c.want("after the repair", c.check(tiers.CheckOptions{}), "manifest-bytes-missing")
	if exists, err := c.dev.Exists(t.Context(), c.layer); err != nil || exists {
		t.Errorf("whoever asks is told that the lost blob is there: %v, %v", exists, err)
	}
	c.blob(c.dev, bytesOf(2, 50))
	m, err := oci.ParseManifest("", body)
	if err != nil {
		t.Fatal(err)
	}
	for _, reference := range []string{c.lonely.Digest.String(), "lonely"} {
		if _, err := c.dev.PutManifest(t.Context(), reference, "", m.MediaType, body); err != nil {
			t.Fatal(err)
		}
	}
	c.want("pushed again", c.check(tiers.CheckOptions{ReadData: true}))
	c.Forget()
	if _, got, err := c.dev.Manifest(t.Context(), "lonely"); err != nil || !bytes.Equal(got, body) {
		t.Errorf("got %q, %v", got, err)
	}
}
