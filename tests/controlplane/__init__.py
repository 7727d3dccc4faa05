"""A real Kubernetes control plane on loopback, with Sekisho installed in it: `python -m tests.controlplane up`.

build makes the binaries, plane runs etcd, kube-apiserver and kube-controller-manager, installed adds Sekisho by its
chart, supervisor keeps all of it in the background.
"""
