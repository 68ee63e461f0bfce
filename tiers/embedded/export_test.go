package embedded

import (
	"context"
	"log/slog"
)

// Gateway is the S3 server alone, with a sync that a test watches or breaks.
type Gateway struct {
	Endpoint, AccessKey, SecretKey string
	Close                          func() error
}

// StartGateway starts the S3 server alone.
func StartGateway(ctx context.Context, dir string, sync func(string) error) (*Gateway, error) {
	g, err := startGatewaySync(ctx, Config{Dir: dir, Log: slog.New(slog.DiscardHandler)}, sync)
	if err != nil {
		return nil, err
	}
	return &Gateway{g.endpoint, g.credentials.AccessKey, g.credentials.SecretKey, g.close}, nil
}

// SyncPath is the sync of a real server.
func SyncPath(path string) error { return syncPath(path) }

// UploadDir is where the parts of an upload lie, below the bucket.
func UploadDir(key, uploadID string) string { return uploadDir(key, uploadID) }
