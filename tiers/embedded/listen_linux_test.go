package embedded_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// What this process listens on is a loopback port and two socket files, and nothing else:
// no socket without a file, which every user of the machine could reach.
func TestListens(t *testing.T) {
	before := listens(t)
	dir := t.TempDir()
	servers := start(t, dir)
	endpoint, _, _, _ := servers.S3()
	want := map[string]bool{
		endpoint:                               true,
		filepath.Join(dir, "run", "etcd.sock"): true,
		filepath.Join(dir, "run", "peer.sock"): true,
	}
	for addr := range listens(t) {
		if !before[addr] && !want[addr] {
			t.Errorf("listens on %q", addr)
		}
		delete(want, addr)
	}
	for addr := range want {
		t.Errorf("does not listen on %s", addr)
	}
}

// listens finds the sockets of this process that wait for connections: the path of a unix
// socket, the URL of a TCP port on 127.0.0.1, and the kernel's own form for all others.
func listens(t *testing.T) map[string]bool {
	t.Helper()
	mine := map[string]bool{}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if link, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil {
			mine[link] = true
		}
	}
	found := map[string]bool{}
	each := func(file string, fields int, take func(f []string)) {
		data, err := os.ReadFile(file)
		if err != nil {
			return // no IPv6 here
		}
		for _, line := range strings.Split(string(data), "\n") {
			if f := strings.Fields(line); len(f) >= fields {
				take(f)
			}
		}
	}
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		each(file, 10, func(f []string) {
			const listen = "0A"
			if f[3] == listen && mine["socket:["+f[9]+"]"] {
				found[tcpAddr(f[1])] = true
			}
		})
	}
	each("/proc/net/unix", 7, func(f []string) {
		const accepts = "00010000"
		if f[3] == accepts && mine["socket:["+f[6]+"]"] {
			found[strings.Join(f[7:], " ")] = true
		}
	})
	return found
}

// tcpAddr turns "0100007F:1F90" into "http://127.0.0.1:8080".
func tcpAddr(kernel string) string {
	const loopback = "0100007F:" // little-endian, as this test's machines are
	hex, ok := strings.CutPrefix(kernel, loopback)
	port, err := strconv.ParseUint(hex, 16, 16)
	if !ok || err != nil {
		return kernel
	}
	return "http://127.0.0.1:" + strconv.FormatUint(port, 10)
}
