package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
	"github.com/versity/versitygw/s3api"

	"sluice.dev/sluice/tiers"
)

const (
	s3Region = "us-east-1" // the S3 server wants one; nothing hangs on it

	// portAttempts is how often another port is tried where one that was free is taken
	// before the server has it.
	portAttempts = 5

	gatewayStartTimeout = 10 * time.Second

	maxConnections = 16384
	copyLimit      = 5 << 30 // bytes of one CopyObject, as Amazon S3 has it
)

// gateway is a running S3 server.
type gateway struct {
	endpoint    string
	credentials credentials
	cancel      context.CancelFunc
	died        chan error
	ended       chan struct{}
	cwd         string // to go back to; empty: it was not left
}

func startGateway(ctx context.Context, cfg Config) (_ *gateway, err error) {
	return startGatewaySync(ctx, cfg, syncPath)
}

// startGatewaySync takes the function that syncs a path, so that tests can watch it.
func startGatewaySync(ctx context.Context, cfg Config, sync func(string) error) (_ *gateway, err error) {
	g := &gateway{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start S3 server: %w", err), g.close())
		}
	}()
	if g.credentials, err = loadCredentials(cfg.Dir); err != nil {
		return nil, err
	}
	root := filepath.Join(cfg.Dir, "objects")
	if err := prepareRoot(root); err != nil {
		return nil, err
	}
	if g.cwd, err = os.Getwd(); err != nil {
		return nil, err
	}
	for range portAttempts {
		if err = g.run(ctx, root, cfg.NoSync, sync); err == nil {
			return g, nil
		}
		if ctx.Err() != nil || !isAddrInUse(err) {
			break
		}
	}
	return nil, err
}

// prepareRoot makes the directory of the buckets and tries what the server takes for
// granted there.
func prepareRoot(root string) error {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(root, 0o700); err != nil {
		return err
	}
	const probe = "probe"
	x := meta.XattrMeta{}
	if err := x.StoreAttribute(nil, root, "", probe, []byte("1")); err != nil {
		return fmt.Errorf("the file system of %s keeps no extended attributes, choose another data directory: %w", root, err)
	}
	if err := x.DeleteAttribute(root, "", probe); err != nil {
		return fmt.Errorf("extended attributes of %s: %w", root, err)
	}
	if err := recoverUploads(root); err != nil {
		return err
	}
	return syncPath(filepath.Dir(root))
}

// run starts the server on a free port and waits until it listens.
func (g *gateway) run(ctx context.Context, root string, noSync bool, sync func(string) error) error {
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	opts := posix.PosixOpts{CopyObjectThreshold: copyLimit, ValidateBucketNames: true, DataIntegrityEtag: true}
	opts.SetNewDirPerm(0o700)
	opts.SetNewFilePerm(0o600)
	storage, err := posix.New(root, meta.XattrMeta{}, opts)
	if err != nil {
		return err
	}
	be := &durable{Backend: storage, root: root, sync: sync}
	if noSync {
		be.sync = func(string) error { return nil }
	}
	listening := make(chan struct{})
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	died, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		err := embedgw.RunVersityGW(running, be, gatewayConfig(addr, g.credentials, func() { close(listening) }))
		if err == nil {
			err = errors.New("no reason given")
		}
		died <- err
	}()
	g.endpoint, g.cancel, g.died, g.ended = "http://"+addr, cancel, died, ended
	select {
	case <-listening:
		return nil
	case err := <-died:
		cancel()
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(gatewayStartTimeout):
		return fmt.Errorf("not ready within %v", gatewayStartTimeout)
	}
}

func gatewayConfig(addr string, c credentials, listening func()) *embedgw.Config {
	return &embedgw.Config{
		RootUserAccess: c.AccessKey, RootUserSecret: c.SecretKey,
		IAMService: auth.NewIAMServiceSingle(auth.Account{
			Access: c.AccessKey, Secret: c.SecretKey, Role: auth.RoleAdmin,
		}),
		Region: s3Region, Ports: []string{addr},
		MaxConnections: maxConnections, MaxRequests: maxConnections, MultipartMaxParts: tiers.MaxParts,
		Quiet: true, KeepAlive: true, DisableACLs: true,
		S3Options: []s3api.Option{s3api.WithOnListen(listening)},
	}
}

// freeAddr finds a loopback port. The server cannot be given a listener, only a port, so
// another process may take it in between; then the server does not start and another is
// tried. It counts as started only when it has the port itself.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (g *gateway) close() error {
	if g == nil {
		return nil
	}
	if g.cancel != nil {
		g.cancel()
		<-g.ended
	}
	if g.cwd != "" {
		return os.Chdir(g.cwd)
	}
	return nil
}

// isAddrInUse looks at the text too: the server passes on some errors as text only.
func isAddrInUse(err error) bool {
	return errors.Is(err, syscall.EADDRINUSE) || (err != nil && strings.Contains(err.Error(), "address already in use"))
}
