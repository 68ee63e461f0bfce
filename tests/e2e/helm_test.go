package e2e_test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"sluice.dev/sluice/tests/clients"
)

// helmJob pushes a chart whose version is no tag as it stands, and uses it from there.
func helmJob(t *testing.T, s *server, _ *http.Client) {
	h := clients.New(t)
	h.File("app/Chart.yaml", []byte("apiVersion: v2\nname: app\nversion: 1.0.0+build.5\ndescription: a chart\n"))
	h.File("app/values.yaml", []byte("greeting: hello\n"))
	h.File("app/templates/greeting.yaml", []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: greeting}\ndata: {greeting: {{ .Values.greeting }}}\n"))
	h.Run("helm", "package", "app")
	h.Run("helm", "push", "--plain-http", "app-1.0.0+build.5.tgz", "oci://"+s.host+"/dev/helm")

	chart := "oci://" + s.host + "/dev/helm/app"
	has(t, h.Run("helm", "show", "chart", "--plain-http", chart, "--version", "1.0.0+build.5"), "description: a chart")
	has(t, h.Run("helm", "template", "--plain-http", "release", chart), "greeting: hello") // the newest, of the list of tags
	has(t, h.Run("crane", "ls", "--insecure", s.host+"/dev/helm/app"), "1.0.0_build.5")
	h.File("pulled/keep", nil) // helm wants the folder to be there
	h.Run("helm", "pull", "--plain-http", "-d", "pulled", chart, "--version", "1.0.0+build.5")
	pushed, err := os.ReadFile(filepath.Join(h.Dir(), "app-1.0.0+build.5.tgz"))
	if err != nil {
		t.Fatal(err)
	}
	pulled, err := os.ReadFile(filepath.Join(h.Dir(), "pulled", "app-1.0.0+build.5.tgz"))
	if err != nil || !bytes.Equal(pushed, pulled) {
		t.Errorf("the chart that was pulled is another: %v", err)
	}
}
