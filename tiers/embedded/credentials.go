package embedded

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// credentials are those of the S3 server's only account.
type credentials struct {
	AccessKey string `json:"accessKey"`
	SecretKey string `json:"secretKey"`
}

// loadCredentials reads the credentials of a data directory and makes them first if there
// are none.
func loadCredentials(dir string) (credentials, error) {
	path := filepath.Join(dir, "s3-credentials")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeCredentials(path)
	}
	if err != nil {
		return credentials{}, fmt.Errorf("read S3 credentials: %w", err)
	}
	var c credentials
	if err := json.Unmarshal(data, &c); err != nil {
		return credentials{}, fmt.Errorf("read S3 credentials %s: %w", path, err)
	}
	if c.AccessKey == "" || c.SecretKey == "" {
		return credentials{}, fmt.Errorf("read S3 credentials %s: a key is empty", path)
	}
	return c, nil
}

// makeCredentials writes the file under another name first: a crash must leave a whole
// file or none.
func makeCredentials(path string) (credentials, error) {
	c := credentials{AccessKey: "sluice-" + rand.Text()[:12], SecretKey: rand.Text() + rand.Text()}
	data, err := json.Marshal(c)
	if err != nil {
		return credentials{}, fmt.Errorf("make S3 credentials: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".s3-credentials-*") // mode 0600
	if err != nil {
		return credentials{}, fmt.Errorf("make S3 credentials: %w", err)
	}
	defer os.Remove(f.Name()) // gone already unless something failed
	_, err = f.Write(append(data, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = syncPath(filepath.Dir(path))
	}
	if err != nil {
		return credentials{}, fmt.Errorf("make S3 credentials: %w", err)
	}
	return c, nil
}
