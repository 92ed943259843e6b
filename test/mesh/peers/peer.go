// A peer of the mesh proxy for tests, of Go's crypto/tls as it comes: `peer client HOST:PORT FOLDER`, or `peer server HOST FOLDER`.
// It does what mesh-proxy/engine/core/examples/rustls-peer.rs does.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
)

func identity(folder string) (*tls.Config, error) {
	own, err := tls.LoadX509KeyPair(filepath.Join(folder, "certChain.pem"), filepath.Join(folder, "key.pem"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(filepath.Join(folder, "mesh-ca.pem"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &tls.Config{
		Certificates:       []tls.Certificate{own},
		RootCAs:            roots,
		ClientCAs:          roots,
		ClientAuth:         tls.RequireAndVerifyClientCert,
		ServerName:         "server",
		ClientSessionCache: tls.NewLRUClientSessionCache(1),
	}, nil
}

func client(address, folder string) error {
	config, err := identity(folder)
	if err != nil {
		return err
	}
	for range 2 {
		connection, err := tls.Dial("tcp", address, config)
		if err != nil {
			return err
		}
		line := []byte("hello, mesh\n")
		if _, err := connection.Write(line); err != nil {
			return err
		}
		if err := connection.CloseWrite(); err != nil {
			return err
		}
		// It fails where the end is not a clean one.
		answer, err := io.ReadAll(connection)
		if err != nil {
			return err
		}
		state := connection.ConnectionState()
		fmt.Printf("%s resumed: %v, %v\n", tls.VersionName(state.Version), state.DidResume, bytes.Equal(answer, line))
		connection.Close()
	}
	return nil
}

func serve(connection *tls.Conn) error {
	defer connection.Close()
	said, err := io.ReadAll(connection)
	if err != nil {
		return err
	}
	if _, err := connection.Write(said); err != nil {
		return err
	}
	fmt.Printf("served, resumed: %v\n", connection.ConnectionState().DidResume)
	return nil
}

func server(host, folder string) error {
	config, err := identity(folder)
	if err != nil {
		return err
	}
	listener, err := tls.Listen("tcp", host+":0", config)
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		if err := serve(connection.(*tls.Conn)); err != nil {
			fmt.Println("refused:", err)
		}
	}
}

func main() {
	err := errors.New("peer client HOST:PORT FOLDER, or peer server HOST FOLDER")
	if len(os.Args) == 4 && os.Args[1] == "client" {
		err = client(os.Args[2], os.Args[3])
	} else if len(os.Args) == 4 && os.Args[1] == "server" {
		err = server(os.Args[2], os.Args[3])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
