package main

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"sync"
)

// behavior is how the registry answers for one repository; the one of "" is for all others and for /v2/.
type behavior struct {
	// Auth is "", "basic" or "bearer". With bearer and without User, everybody gets a token.
	Auth     string
	User     string
	Password string
	// Realm is where the challenge sends clients for a token; by default to /token of this registry.
	Realm string
	// PageSize limits the descriptors in one answer of the referrers API. 0: all in one.
	PageSize int
	// IgnoresFilter: artifactType in the query has no effect.
	IgnoresFilter bool
	// Turns are digests that any tag stands for, one after the other, from the first again after the last.
	Turns  []string
	Faults []fault
}

// fault changes the answers to one kind of request.
type fault struct {
	// Kind is "tag", "manifest", "blob", "referrers", "token", "ping", or "" for all of these.
	Kind string
	// Methods are GET and HEAD unless set.
	Methods []string
	// Times is how many requests it changes. 0: all.
	Times int
	// DelayMs comes before the answer begins.
	DelayMs int
	// Status replaces the registry's own answer. 0: the true one.
	Status int
	// Headers are set; one without a value is removed. {path} stands for the path of the request.
	Headers map[string]string
	// Body replaces the true one. Base64 in JSON; null: the true one.
	Body []byte
	// Endless repeats the body until the client goes.
	Endless bool
	// DripMs is the pause between the bytes of a body that is sent one by one. 0: it is sent as a whole.
	DripMs int
	// Flip changes one bit in the middle of the body.
	Flip bool
}

// request is an entry of the log.
type request struct {
	Listener      string `json:"listener"`
	Host          string `json:"host"`
	Method        string `json:"method"`
	Path          string `json:"path"`
	Repository    string `json:"repository"`
	Kind          string `json:"kind"`
	Authorization string `json:"authorization"`
	UserAgent     string `json:"user_agent"`
}

// control keeps what tests configure, and the log of requests.
type control struct {
	mutex     sync.Mutex
	behaviors map[string]*behavior
	turns     map[string]int
	requests  []request
}

func newControl() *control {
	return &control{behaviors: map[string]*behavior{"": {}}, turns: map[string]int{}, requests: []request{}}
}

// wrap adds /control/ to a handler, and writes its other requests into the log.
func (c *control) wrap(listener string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(writer http.ResponseWriter, incoming *http.Request) {
		switch incoming.URL.Path {
		case "/control/behavior":
			c.setBehavior(writer, incoming)
		case "/control/requests":
			c.showRequests(writer)
		default:
			repository, kind := classify(incoming.URL.Path)
			c.mutex.Lock()
			c.requests = append(c.requests, request{
				listener, incoming.Host, incoming.Method, incoming.URL.RequestURI(), repository, kind,
				incoming.Header.Get("Authorization"), incoming.UserAgent(),
			})
			c.mutex.Unlock()
			next.ServeHTTP(writer, incoming)
		}
	})
}

func (c *control) setBehavior(writer http.ResponseWriter, incoming *http.Request) {
	var wanted behavior
	decoder := json.NewDecoder(incoming.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&wanted); err != nil {
		http.Error(writer, err.Error(), http.StatusBadRequest)
		return
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	repository := incoming.URL.Query().Get("repository")
	c.behaviors[repository] = &wanted
	delete(c.turns, repository)
}

func (c *control) showRequests(writer http.ResponseWriter) {
	c.mutex.Lock()
	answer, err := json.Marshal(c.requests)
	c.mutex.Unlock()
	if err != nil {
		http.Error(writer, err.Error(), http.StatusInternalServerError)
		return
	}
	writer.Header().Set("Content-Type", "application/json")
	_, _ = writer.Write(answer)
}

// behavior gives a copy of a repository's behavior, without its faults.
func (c *control) behavior(repository string) behavior {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	copied := *c.of(repository)
	copied.Faults = nil
	return copied
}

// turn is the digest that a tag stands for now; "" when tags stay.
func (c *control) turn(repository string) string {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	turns := c.of(repository).Turns
	if len(turns) == 0 {
		return ""
	}
	c.turns[repository]++
	return turns[(c.turns[repository]-1)%len(turns)]
}

// fault is the first of a repository's faults that changes this request, nil when none does; it counts as used once.
func (c *control) fault(repository, kind, method string) *fault {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	faults := c.of(repository).Faults
	for number := range faults {
		one := &faults[number]
		if one.Kind != "" && one.Kind != kind || one.Times < 0 || !one.changes(method) {
			continue
		}
		if one.Times == 1 {
			one.Times = -1
		} else if one.Times > 1 {
			one.Times--
		}
		copied := *one
		return &copied
	}
	return nil
}

func (c *control) of(repository string) *behavior {
	if one, exists := c.behaviors[repository]; exists {
		return one
	}
	return c.behaviors[""]
}

func (f *fault) changes(method string) bool {
	if len(f.Methods) == 0 {
		return method == http.MethodGet || method == http.MethodHead
	}
	for _, one := range f.Methods {
		if one == method {
			return true
		}
	}
	return false
}

var paths = regexp.MustCompile(`^/v2/(.+)/(manifests|blobs|referrers)/(.+)$`)

// classify tells the repository and the kind of request that a path is for; both are "" where it is neither.
func classify(requested string) (repository, kind string) {
	switch match := paths.FindStringSubmatch(requested); {
	case requested == "/token":
		return "", "token"
	case requested == "/v2/":
		return "", "ping"
	case match == nil:
		return "", ""
	case match[2] == "manifests" && !strings.Contains(match[3], ":"):
		return match[1], "tag"
	default:
		return match[1], map[string]string{"manifests": "manifest", "blobs": "blob", "referrers": "referrers"}[match[2]]
	}
}
