package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

// odd serves a registry's content as the tests configure it.
type odd struct {
	control *control
	content http.Handler
}

func (o odd) ServeHTTP(writer http.ResponseWriter, incoming *http.Request) {
	repository, kind := classify(incoming.URL.Path)
	wanted := o.control.behavior(repository)
	fault := o.control.fault(repository, kind, incoming.Method)
	if fault == nil {
		o.answer(writer, incoming, repository, kind, wanted)
		return
	}
	select {
	case <-time.After(time.Duration(fault.DelayMs) * time.Millisecond):
	case <-incoming.Context().Done():
		return
	}
	recorder := httptest.NewRecorder()
	o.answer(recorder, incoming, repository, kind, wanted)
	fault.apply(writer, incoming, recorder)
}

func (o odd) answer(writer http.ResponseWriter, incoming *http.Request, repository, kind string, wanted behavior) {
	if kind == "token" {
		o.token(writer, incoming)
		return
	}
	if !authorized(incoming, repository, wanted) {
		challenge(writer, incoming, repository, wanted)
		return
	}
	switch {
	case kind == "tag" && incoming.Method != http.MethodPut:
		if digest := o.control.turn(repository); digest != "" {
			incoming.URL.Path = path.Dir(incoming.URL.Path) + "/" + digest
		}
		o.content.ServeHTTP(writer, incoming)
	case kind == "referrers":
		o.referrers(writer, incoming, wanted)
	default:
		o.content.ServeHTTP(writer, incoming)
	}
}

// referrers serves the list in pages, which the package below does not.
func (o odd) referrers(writer http.ResponseWriter, incoming *http.Request, wanted behavior) {
	query := incoming.URL.Query()
	start, _ := strconv.Atoi(query.Get("last"))
	query.Del("last")
	if wanted.IgnoresFilter {
		query.Del("artifactType")
	}
	whole := incoming.Clone(incoming.Context())
	whole.URL = &url.URL{Path: incoming.URL.Path, RawQuery: query.Encode()}
	recorder := httptest.NewRecorder()
	o.content.ServeHTTP(recorder, whole)
	var index map[string]json.RawMessage
	var manifests []json.RawMessage
	if wanted.PageSize == 0 || recorder.Code != http.StatusOK ||
		json.Unmarshal(recorder.Body.Bytes(), &index) != nil || json.Unmarshal(index["manifests"], &manifests) != nil {
		send(writer, recorder)
		return
	}
	start = min(max(start, 0), len(manifests))
	end := min(start+wanted.PageSize, len(manifests))
	index["manifests"], _ = json.Marshal(manifests[start:end])
	if end < len(manifests) {
		query.Set("last", strconv.Itoa(end))
		next := url.URL{Path: incoming.URL.Path, RawQuery: query.Encode()}
		writer.Header().Set("Link", fmt.Sprintf(`<%s>; rel="next"`, next.String()))
	}
	body, _ := json.Marshal(index)
	recorder.Header().Set("Content-Length", strconv.Itoa(len(body)))
	recorder.Body = bytes.NewBuffer(body)
	send(writer, recorder)
}

// apply sends the true answer with what the fault changes in it.
func (f *fault) apply(writer http.ResponseWriter, incoming *http.Request, recorder *httptest.ResponseRecorder) {
	if f.Status != 0 {
		recorder.Code = f.Status
		recorder.Body.Reset()
		clear(recorder.Header())
	}
	body := recorder.Body.Bytes()
	if f.Body != nil {
		body = f.Body
	}
	if f.Flip && len(body) > 0 {
		body = bytes.Clone(body)
		body[len(body)/2] ^= 1
	}
	if incoming.Method != http.MethodHead {
		recorder.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	for name, value := range f.Headers {
		if value == "" {
			recorder.Header().Del(name)
		} else {
			recorder.Header().Set(name, strings.ReplaceAll(value, "{path}", incoming.URL.Path))
		}
	}
	if f.Endless {
		recorder.Header().Del("Content-Length")
	}
	recorder.Body = bytes.NewBuffer(nil)
	send(writer, recorder)
	f.write(writer, incoming, body)
}

func (f *fault) write(writer http.ResponseWriter, incoming *http.Request, body []byte) {
	if incoming.Method == http.MethodHead || len(body) == 0 {
		return
	}
	for {
		for start, size := 0, f.pieces(body); start < len(body); start += size {
			if _, err := writer.Write(body[start:min(start+size, len(body))]); err != nil {
				return
			}
			if f.DripMs == 0 {
				continue
			}
			_ = http.NewResponseController(writer).Flush()
			select {
			case <-time.After(time.Duration(f.DripMs) * time.Millisecond):
			case <-incoming.Context().Done():
				return
			}
		}
		if !f.Endless {
			return
		}
	}
}

func (f *fault) pieces(body []byte) int {
	if f.DripMs != 0 {
		return 1
	}
	return len(body)
}

func send(writer http.ResponseWriter, recorder *httptest.ResponseRecorder) {
	for name, values := range recorder.Header() {
		writer.Header()[name] = values
	}
	writer.WriteHeader(recorder.Code)
	_, _ = writer.Write(recorder.Body.Bytes())
}
