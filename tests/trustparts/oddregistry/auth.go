package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// authorized tells whether a request may be answered.
func authorized(incoming *http.Request, repository string, wanted behavior) bool {
	switch wanted.Auth {
	case "basic":
		user, password, sent := incoming.BasicAuth()
		return sent && user == wanted.User && password == wanted.Password
	case "bearer":
		token, sent := strings.CutPrefix(incoming.Header.Get("Authorization"), "Bearer ")
		return sent && (repository == "" || token == tokenOf(repository))
	default:
		return true
	}
}

// challenge answers as a registry does that wants to know who asks.
func challenge(writer http.ResponseWriter, incoming *http.Request, repository string, wanted behavior) {
	if wanted.Auth == "basic" {
		writer.Header().Set("WWW-Authenticate", `Basic realm="oddregistry"`)
	} else {
		realm := wanted.Realm
		if realm == "" {
			realm = fmt.Sprintf("https://%s/token", incoming.Host)
		}
		value := fmt.Sprintf(`Bearer realm="%s",service="oddregistry"`, realm)
		if repository != "" {
			value += fmt.Sprintf(`,scope="repository:%s:pull"`, repository)
		}
		writer.Header().Set("WWW-Authenticate", value)
	}
	writer.Header().Set("Content-Type", "application/json")
	writer.WriteHeader(http.StatusUnauthorized)
	_, _ = writer.Write([]byte(`{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`))
}

// token serves GET /token?service=…&scope=repository:NAME:ACTIONS, of several scopes the first.
func (o odd) token(writer http.ResponseWriter, incoming *http.Request) {
	scope := strings.Split(incoming.URL.Query().Get("scope"), ":")
	repository := ""
	if len(scope) == 3 && scope[0] == "repository" {
		repository = scope[1]
	}
	wanted := o.control.behavior(repository)
	if user, password, _ := incoming.BasicAuth(); wanted.User != "" && (user != wanted.User || password != wanted.Password) {
		writer.WriteHeader(http.StatusUnauthorized)
		return
	}
	writer.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(writer).Encode(map[string]any{"token": tokenOf(repository), "expires_in": 300})
}

// tokenOf is a token for one repository. Nothing has to be secret here: a client must send it to this registry only.
func tokenOf(repository string) string {
	return "token-for-" + repository
}
