// Command evaluator answers what Kubernetes' own Pod Security admission decides about pods.
//
// A line of standard input asks {"level": "restricted", "version": "v1.37", "pod": {…}}; a line of standard output answers
// with the ids of the checks that deny the pod, as a JSON list. With "oldPod", the question is about an update, which the
// admission plugin decides: it admits every update that changes no image and adds no container.
package main

import (
	"bufio"
	"context"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/admission"
	admissionapi "k8s.io/pod-security-admission/admission/api"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/metrics"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/json"
)

type question struct {
	Level   string      `json:"level"`
	Version string      `json:"version"`
	Pod     corev1.Pod  `json:"pod"`
	OldPod  *corev1.Pod `json:"oldPod"`
}

// plugin is the admission plugin, in a cluster whose one namespace has the level and the version of the question.
type plugin struct {
	admission.Admission
	namespace corev1.Namespace
}

func newPlugin(evaluator policy.Evaluator) (*plugin, error) {
	p := &plugin{}
	p.Admission = admission.Admission{
		Configuration:   &admissionapi.PodSecurityConfiguration{Defaults: privileged},
		Evaluator:       evaluator,
		Metrics:         noMetrics{},
		NamespaceGetter: p,
		PodLister:       p,
	}
	if err := p.CompleteConfiguration(); err != nil {
		return nil, err
	}
	return p, p.ValidateConfiguration()
}

var privileged = admissionapi.PodSecurityDefaults{
	Enforce: "privileged", EnforceVersion: "latest",
	Audit: "privileged", AuditVersion: "latest",
	Warn: "privileged", WarnVersion: "latest",
}

func (p *plugin) GetNamespace(context.Context, string) (*corev1.Namespace, error) {
	return &p.namespace, nil
}

func (p *plugin) ListPods(context.Context, string) ([]*corev1.Pod, error) {
	return nil, nil
}

// admits says whether the plugin admits the update that a question is about.
func (p *plugin) admits(asked *question) bool {
	p.namespace.Labels = map[string]string{api.EnforceLevelLabel: asked.Level, api.EnforceVersionLabel: asked.Version}
	return p.Validate(context.Background(), &api.AttributesRecord{
		Name:      "pod",
		Namespace: "shop",
		Kind:      corev1.SchemeGroupVersion.WithKind("Pod"),
		Resource:  corev1.SchemeGroupVersion.WithResource("pods"),
		Operation: admissionv1.Update,
		Object:    &asked.Pod,
		OldObject: asked.OldPod,
		Username:  "alice",
	}).Allowed
}

type noMetrics struct{}

func (noMetrics) RecordEvaluation(metrics.Decision, api.LevelVersion, metrics.Mode, api.Attributes) {}
func (noMetrics) RecordExemption(api.Attributes)                                                    {}
func (noMetrics) RecordError(bool, api.Attributes)                                                  {}

func main() {
	if err := answerAll(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func answerAll(in io.Reader, out io.Writer) error {
	evaluator, err := policy.NewEvaluator(checksThatTellTheirIDs(), nil)
	if err != nil {
		return err
	}
	plugin, err := newPlugin(evaluator)
	if err != nil {
		return err
	}
	reader := bufio.NewReaderSize(in, 1<<20)
	writer := bufio.NewWriterSize(out, 1<<20)
	encoder := stdjson.NewEncoder(writer)
	for number := 1; ; number++ {
		line, err := reader.ReadBytes('\n')
		if len(line) == 0 && errors.Is(err, io.EOF) {
			return writer.Flush()
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		denying, err := answer(evaluator, plugin, line)
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		if err := encoder.Encode(denying); err != nil {
			return err
		}
	}
}

func answer(evaluator policy.Evaluator, plugin *plugin, line []byte) ([]string, error) {
	var asked question
	// The API server's own decoder: unlike encoding/json it minds the case of keys.
	if err := json.UnmarshalCaseSensitivePreserveInts(line, &asked); err != nil {
		return nil, err
	}
	level, err := api.ParseLevel(asked.Level)
	if err != nil {
		return nil, err
	}
	version, err := api.ParseVersion(asked.Version)
	if err != nil {
		return nil, err
	}
	denying := []string{}
	if asked.OldPod != nil && plugin.admits(&asked) {
		return denying, nil
	}
	standard := api.LevelVersion{Level: level, Version: version}
	for _, result := range evaluator.EvaluatePod(standard, &asked.Pod.ObjectMeta, &asked.Pod.Spec) {
		if !result.Allowed {
			denying = append(denying, result.ForbiddenReason)
		}
	}
	return denying, nil
}

// checksThatTellTheirIDs returns the default checks with their id as the reason of a denial. The evaluator still chooses among
// versions and overrides as it always does, and its answers name the checks.
func checksThatTellTheirIDs() []policy.Check {
	checks := policy.DefaultChecks()
	for _, check := range checks {
		for i := range check.Versions {
			checkPod := check.Versions[i].CheckPod
			check.Versions[i].CheckPod = func(meta *metav1.ObjectMeta, spec *corev1.PodSpec) policy.CheckResult {
				result := checkPod(meta, spec)
				result.ForbiddenReason = string(check.ID)
				return result
			}
		}
	}
	return checks
}
