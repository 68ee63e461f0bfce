package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"time"

	"github.com/labstack/echo/v4"
)

// Keys of what middleware leaves in an echo.Context.
const (
	statusKey  = "sluice.status" // of a request that failed
	requestKey = "sluice.request"
)

const headerRequestID = "X-Request-Id"

// plainID is what is taken from a client as the id of its request.
var plainID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

func requestID(c echo.Context) string {
	id, _ := c.Get(requestKey).(string)
	return id
}

// observe gives the request an id and writes one line about it when it has ended.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		start, r := time.Now(), c.Request()
		id := r.Header.Get(headerRequestID)
		if !plainID.MatchString(id) {
			id = s.registry.NewID()
		}
		c.Set(requestKey, id)
		header := c.Response().Header()
		header.Set(headerRequestID, id)
		// What clients pushed must never be taken for a page.
		header.Set("X-Content-Type-Options", "nosniff")
		defer func() {
			status := c.Response().Status
			if s, ok := c.Get(statusKey).(int); ok {
				status = s
			}
			s.log.LogAttrs(r.Context(), slog.LevelInfo, "request",
				slog.String("id", id), slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", status),
				slog.Int64("bytes", c.Response().Size), slog.Duration("took", time.Since(start)),
				slog.String("principal", principal(c)), slog.String("remote", r.RemoteAddr), slog.String("agent", r.UserAgent()))
		}()
		if err := next(c); err != nil {
			c.Error(err)
		}
		return nil
	}
}

// recoverPanic keeps a fault in one request from ending the others.
func (s *Server) recoverPanic(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if failure, ok := cause.(error); ok && errors.Is(failure, http.ErrAbortHandler) {
				panic(http.ErrAbortHandler) // how net/http is told to cut the connection
			}
			err = fmt.Errorf("panic: %v\n%s", cause, debug.Stack())
		}()
		return next(c)
	}
}
