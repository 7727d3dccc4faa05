// Command fieldpaths prints every field of a pod's spec in the pinned version of the Kubernetes API, one a line: its path,
// such as containers[].securityContext.runAsUser, a tab, and its type and name, such as SecurityContext.runAsUser. A list
// is written [], a map {}.
package main

import (
	"bufio"
	"fmt"
	"os"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// These are structs in Go and scalars in JSON.
var scalars = map[reflect.Type]bool{
	reflect.TypeFor[resource.Quantity]():  true,
	reflect.TypeFor[intstr.IntOrString](): true,
	reflect.TypeFor[metav1.Time]():        true,
	reflect.TypeFor[metav1.MicroTime]():   true,
	reflect.TypeFor[metav1.Duration]():    true,
	reflect.TypeFor[metav1.FieldsV1]():    true,
}

func main() {
	writer := bufio.NewWriter(os.Stdout)
	defer writer.Flush()
	writeFields(writer, reflect.TypeFor[corev1.PodSpec](), "PodSpec", "")
}

func writeFields(writer *bufio.Writer, of reflect.Type, typeName, above string) {
	for index := range of.NumField() {
		field := of.Field(index)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case name == "-" || !field.IsExported():
		case strings.Contains(options, "inline") || (field.Anonymous && name == ""):
			writeFields(writer, field.Type, field.Type.Name(), above)
		default:
			writeField(writer, field.Type, typeName+"."+name, above+name)
		}
	}
}

func writeField(writer *bufio.Writer, of reflect.Type, typeAndName, path string) {
	for isContainer(of) {
		switch of.Kind() {
		case reflect.Slice, reflect.Array:
			path += "[]"
		case reflect.Map:
			path += "{}"
		}
		of = of.Elem()
	}
	fmt.Fprintf(writer, "%s\t%s\n", path, typeAndName)
	if of.Kind() == reflect.Struct && !scalars[of] {
		writeFields(writer, of, of.Name(), path+".")
	}
}

func isContainer(of reflect.Type) bool {
	switch of.Kind() {
	case reflect.Pointer, reflect.Map:
		return true
	case reflect.Slice, reflect.Array:
		return of.Elem().Kind() != reflect.Uint8
	default:
		return false
	}
}
