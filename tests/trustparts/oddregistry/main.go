// Command oddregistry is an OCI registry in memory with the referrers API, which behaves as oddly as a test wants.
//
//	oddregistry ADDRESS OTHER_ADDRESS CERTIFICATE KEY
//
// It serves the same content at both addresses: at the first as the tests configure it by /control/behavior, at the
// other plainly, as the storage that a registry redirects to. Both write what was asked into the log at
// /control/requests.
package main

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"

	"cuelabs.dev/go/oci/ociregistry/ocimem"
	"cuelabs.dev/go/oci/ociregistry/ociserver"
)

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: oddregistry ADDRESS OTHER_ADDRESS CERTIFICATE KEY")
		os.Exit(2)
	}
	content := ociserver.New(ocimem.NewWithConfig(&ocimem.Config{LaxChildReferences: true}), nil)
	control := newControl()
	failures := make(chan error)
	serve := func(address string, handler http.Handler) {
		server := http.Server{Addr: address, Handler: handler, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
		failures <- server.ListenAndServeTLS(os.Args[3], os.Args[4])
	}
	go serve(os.Args[1], control.wrap("registry", odd{control, content}))
	go serve(os.Args[2], control.wrap("storage", content))
	fmt.Fprintln(os.Stderr, <-failures)
	os.Exit(1)
}
