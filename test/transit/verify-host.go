// Prints which of the names given as arguments Go accepts for the leaf on standard input, a certificate in PEM.
package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
)

func main() {
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	for block, rest := pem.Decode(input); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			fmt.Println("unreadable")
			continue
		}
		matched := ""
		for _, name := range os.Args[1:] {
			if certificate.VerifyHostname(name) == nil {
				matched += name + " "
			}
		}
		fmt.Println(matched)
	}
}
