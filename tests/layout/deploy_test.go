package layout_test

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// composeFile is what the tests read of docker-compose.yml.
type composeFile struct {
	Services map[string]service   `yaml:"services"`
	Networks map[string]yaml.Node `yaml:"networks"`
	Volumes  map[string]yaml.Node `yaml:"volumes"`
}

type service struct {
	Image string `yaml:"image"`
	Build struct {
		Dockerfile string `yaml:"dockerfile"`
		Target     string `yaml:"target"`
	} `yaml:"build"`
	Networks    []string    `yaml:"networks"`
	Ports       []string    `yaml:"ports"`
	DependsOn   yaml.Node   `yaml:"depends_on"`
	Volumes     []yaml.Node `yaml:"volumes"`
	Healthcheck *yaml.Node  `yaml:"healthcheck"`
}

// mounts lists the short-form volumes as source, target.
func (s service) mounts() [][2]string {
	var all [][2]string
	for _, volume := range s.Volumes {
		if source, rest, ok := strings.Cut(volume.Value, ":"); ok {
			target, _, _ := strings.Cut(rest, ":")
			all = append(all, [2]string{source, target})
		}
	}
	return all
}

func readCompose(t *testing.T) composeFile {
	t.Helper()
	var compose composeFile
	if err := yaml.Unmarshal(read(t, "docker-compose.yml"), &compose); err != nil {
		t.Fatal(err)
	}
	return compose
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestCompose checks what docker would complain about first: names that lead nowhere.
func TestCompose(t *testing.T) {
	compose := readCompose(t)
	want := []string{"balancer", "etcd-0", "etcd-1", "etcd-2", "s3", "secrets", "sluice-0", "sluice-1"}
	var got []string
	for name := range compose.Services {
		got = append(got, name)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("services %v, want %v", got, want)
	}

	dockerfile := string(read(t, "deploy/Dockerfile"))
	for name, s := range compose.Services {
		if s.Image == "" {
			t.Errorf("%s has no image", name)
		}
		if target := s.Build.Target; target != "" && !strings.Contains(dockerfile, " AS "+target+"\n") {
			t.Errorf("%s is built from the stage %s, which deploy/Dockerfile lacks", name, target)
		}
		if len(s.Ports) > 0 && name != "balancer" {
			t.Errorf("%s publishes %v; only the balancer is reached from outside", name, s.Ports)
		}
		for _, network := range s.Networks {
			if _, ok := compose.Networks[network]; !ok {
				t.Errorf("%s is on the network %s, which is not declared", name, network)
			}
		}
		for _, other := range dependencies(s.DependsOn) {
			if _, ok := compose.Services[other]; !ok {
				t.Errorf("%s depends on %s, which does not exist", name, other)
			}
		}
		for _, mount := range s.mounts() {
			if strings.HasPrefix(mount[0], "./") {
				source := filepath.Join(root, filepath.FromSlash(mount[0]))
				if _, err := os.Stat(source); err != nil {
					t.Errorf("%s mounts %s: %v", name, mount[0], err)
				}
			} else if _, ok := compose.Volumes[mount[0]]; !ok {
				t.Errorf("%s mounts the volume %s, which is not declared", name, mount[0])
			}
		}
	}
	for _, name := range []string{"etcd-0", "etcd-1", "etcd-2", "s3", "balancer"} {
		if compose.Services[name].Healthcheck == nil {
			t.Errorf("%s has no healthcheck", name)
		}
	}
}

// dependencies reads depends_on, which is a list or a map.
func dependencies(node yaml.Node) []string {
	var names []string
	for i, child := range node.Content {
		if node.Kind == yaml.SequenceNode || i%2 == 0 {
			names = append(names, child.Value)
		}
	}
	return names
}

// TestConfigurationFiles follows every path that deploy/sluice.yaml and the policies name
// into the container that compose starts: it has to be mounted there, from a file that is
// in the tree or from one that deploy/secrets.sh makes.
func TestConfigurationFiles(t *testing.T) {
	compose := readCompose(t)
	var config yaml.Node
	if err := yaml.Unmarshal(read(t, "deploy/sluice.yaml"), &config); err != nil {
		t.Fatal(err)
	}
	paths := inContainer(&config, "/etc/sluice")
	policies, err := filepath.Glob(filepath.Join(root, "deploy/policies/*.yaml"))
	if err != nil || len(policies) == 0 {
		t.Fatalf("no policies: %v", err)
	}
	for _, policy := range policies {
		var document yaml.Node
		if err := yaml.Unmarshal(read(t, "deploy/policies/"+filepath.Base(policy)), &document); err != nil {
			t.Fatalf("%s: %v", policy, err)
		}
		paths = append(paths, inContainer(&document, "/etc/sluice/policies")...)
	}
	if len(paths) < 12 {
		t.Errorf("only %d paths found: %v", len(paths), paths)
	}

	made := secretFiles(t, compose)
	for _, p := range paths {
		if !mounted(compose.Services["sluice-0"], p, made) {
			t.Errorf("%s is named in the configuration and not there", p)
		}
	}
}

// inContainer collects the values of the keys that hold paths, resolved against dir.
func inContainer(node *yaml.Node, dir string) []string {
	var paths []string
	if node.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(node.Content); i += 2 {
			key, value := node.Content[i].Value, node.Content[i+1]
			if value.Kind == yaml.ScalarNode && slices.Contains([]string{"file", "policy", "htpasswd", "accessKeyFile", "secretKeyFile"}, key) {
				paths = append(paths, path.Join(dir, value.Value))
			}
		}
	}
	for _, child := range node.Content {
		paths = append(paths, inContainer(child, dir)...)
	}
	return paths
}

// secretFiles lists what deploy/secrets.sh makes, as volume/file.
func secretFiles(t *testing.T, compose composeFile) []string {
	t.Helper()
	volumes := map[string]string{}
	for _, mount := range compose.Services["secrets"].mounts() {
		volumes[strings.TrimPrefix(mount[1], "/secrets/")] = mount[0]
	}
	script := strings.ReplaceAll(string(read(t, "deploy/secrets.sh")), `"`, "")
	var files []string
	for line := range strings.Lines(script) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[0] != "once" {
			continue
		}
		folder, name := path.Split(fields[1])
		for _, use := range []string{"stable", "release", "ledger"} {
			files = append(files, volumes[strings.TrimSuffix(folder, "/")]+"/"+strings.ReplaceAll(name, "$use", use))
		}
	}
	return files
}

func mounted(s service, p string, made []string) bool {
	for _, mount := range s.mounts() {
		source, target := mount[0], mount[1]
		if !within(p, target) {
			continue
		}
		rest := strings.TrimPrefix(p, target)
		if !strings.HasPrefix(source, "./") {
			return slices.Contains(made, source+rest)
		}
		_, err := os.Stat(filepath.Join(root, filepath.FromSlash(source+rest)))
		return err == nil
	}
	return false
}
