// Command evaluator says what the Pod Security evaluator of Kubernetes itself thinks of pods.
//
// A line of standard input asks {"level": "restricted", "version": "v1.37", "pod": {…}}; a line of standard output answers
// with the ids of the checks that deny the pod, as a JSON list.
package main

import (
	"bufio"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/json"
)

type question struct {
	Level   string     `json:"level"`
	Version string     `json:"version"`
	Pod     corev1.Pod `json:"pod"`
}

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
		denying, err := answer(evaluator, line)
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		if err := encoder.Encode(denying); err != nil {
			return err
		}
	}
}

func answer(evaluator policy.Evaluator, line []byte) ([]string, error) {
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
	standard := api.LevelVersion{Level: level, Version: version}
	for _, result := range evaluator.EvaluatePod(standard, &asked.Pod.ObjectMeta, &asked.Pod.Spec) {
		if !result.Allowed {
			denying = append(denying, result.ForbiddenReason)
		}
	}
	return denying, nil
}

// checksThatTellTheirIDs gives the default checks with their id for a reason. So the evaluator chooses among versions and
// overrides as it always does, and what it says can still be told apart by check.
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
