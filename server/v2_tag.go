package server

import (
	"github.com/go-json-experiment/json"
	"github.com/labstack/echo/v4"
)

type tagList struct {
	Name string   `json:"name"`
	Tags []string `json:"tags"`
}

// listTags answers "GET /v2/<name>/tags/list".
func (s *Server) listTags(r v2Request) error {
	n, last, err := pageParams(r, largestPage)
	if err != nil {
		return err
	}
	tags, next, err := r.repo.Tags(r.Request().Context(), last, n)
	if err != nil {
		return err
	}
	if n == 0 { // asked for nothing, which also is no place to go on from
		tags, next = []string{}, ""
	}
	if next != "" {
		linkNext(r, r.path("tags", "list"), n, next)
	}
	body, err := json.Marshal(tagList{Name: r.route.name, Tags: tags})
	if err != nil {
		return err
	}
	return r.whole(echo.MIMEApplicationJSON, body)
}
