package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// usage reads from /proc what a server process has spent. Id 0 is nobody and spends nothing.
type usage int

// cpuSeconds is user and system time since the process began; the clock ticks every 10 ms.
func (u usage) cpuSeconds() (float64, error) {
	if u == 0 {
		return 0, nil
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", u))
	if err != nil {
		return 0, fmt.Errorf("read CPU seconds: %w", err)
	}
	// The name of the program, in parentheses, may hold anything.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("read CPU seconds: %d fields in %q", len(fields), data)
	}
	user, err := strconv.ParseFloat(fields[11], 64)
	if err != nil {
		return 0, fmt.Errorf("read CPU seconds: %w", err)
	}
	system, err := strconv.ParseFloat(fields[12], 64)
	if err != nil {
		return 0, fmt.Errorf("read CPU seconds: %w", err)
	}
	return (user + system) / 100, nil // USER_HZ is 100 on Linux
}

// resetPeak makes the peak of resident memory begin anew.
func (u usage) resetPeak() error {
	if u == 0 {
		return nil
	}
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", u), []byte("5"), 0)
}

// peakMiB is the most that was resident since resetPeak.
func (u usage) peakMiB() (float64, error) {
	kib, err := u.counter("status", "VmHWM:")
	return kib / 1024, err
}

// residentMiB is what is resident now.
func (u usage) residentMiB() (float64, error) {
	kib, err := u.counter("status", "VmRSS:")
	return kib / 1024, err
}

// ioMiB is what the process read and wrote so far, from files and sockets alike. What
// splice(2) moves is not in it.
func (u usage) ioMiB() (float64, error) {
	read, err := u.counter("io", "rchar:")
	if err != nil {
		return 0, err
	}
	written, err := u.counter("io", "wchar:")
	return (read + written) / (1 << 20), err
}

// counter reads the number behind name in a file of /proc/PID.
func (u usage) counter(file, name string) (float64, error) {
	if u == 0 {
		return 0, nil
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", u, file))
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", name, err)
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, name); ok {
			if fields := strings.Fields(value); len(fields) > 0 {
				return strconv.ParseFloat(fields[0], 64)
			}
		}
	}
	return 0, fmt.Errorf("read %s: not in /proc/%d/%s", name, u, file)
}
