// Conformance runs the suite that Kubernetes runs on its own Pod Security plugin, against the cluster of $KUBECONFIG.
//
// It is a program rather than a test, so that it is built and cached like the control plane's own binaries; it takes
// the flags of a Go test (-test.v, -test.run) and ends with its exit code.
package main

import (
	"os"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	podsecurity "k8s.io/pod-security-admission/test"
)

func main() {
	matches := func(pattern, name string) (bool, error) { return true, nil }
	testing.Main(matches, []testing.InternalTest{{Name: "PodSecurity", F: run}}, nil, nil)
}

func run(t *testing.T) {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	// The client's own limit of a few requests a second would be all that is measured.
	config.QPS, config.Burst = -1, 1
	config.WarningHandler = rest.NoWarnings{}
	podsecurity.Run(t, podsecurity.Options{ClientConfig: config})
}
