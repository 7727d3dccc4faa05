// Command verifier verifies serving certificates as the API server does when it calls a webhook.
//
// It reads a JSON object a line and writes a line for each: empty when the certificate is accepted, else the error.
package main

import (
	"bufio"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"time"
)

type question struct {
	Chain string    `json:"chain"`
	Roots string    `json:"roots"`
	Name  string    `json:"name"`
	Now   time.Time `json:"now"`
}

func verify(q question) error {
	var chain []*x509.Certificate
	for rest := []byte(q.Chain); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil { // crypto/tls ends the handshake
			return err
		}
		chain = append(chain, certificate)
	}
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(q.Roots))
	for _, certificate := range chain[1:] {
		intermediates.AddCert(certificate)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: q.Now, DNSName: q.Name,
	})
	return err
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var q question
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		answer := ""
		if err := verify(q); err != nil {
			answer = strings.ReplaceAll(err.Error(), "\n", " ")
		}
		fmt.Println(answer)
	}
}
