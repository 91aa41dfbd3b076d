// A certificate transparency log for tests: TesseraCT's handlers over Tessera's POSIX storage.
//
// TesseraCT's own program adds a database against repeated submissions, which needs a Tessera that is not released.
// What a Fulcio meets, chain validation, SCT and Merkle tree, is TesseraCT's own.
package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"github.com/transparency-dev/tesseract"
	"github.com/transparency-dev/tesseract/storage"
	ctposix "github.com/transparency-dev/tesseract/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

const (
	deadline           = 10 * time.Second
	checkpointInterval = 200 * time.Millisecond
	maxChainBytes      = 512 << 10
)

func main() {
	listen := flag.String("listen", "", "host:port to answer on")
	origin := flag.String("origin", "", "name of the log in its checkpoints")
	key := flag.String("key", "", "file with the log's EC private key (PEM)")
	roots := flag.String("roots", "", "file with the accepted roots (PEM)")
	folder := flag.String("storage", "", "folder of the log")
	flag.Parse()
	log.Fatal(serve(context.Background(), *listen, *origin, *key, *roots, *folder))
}

func serve(ctx context.Context, listen, origin, key, roots, folder string) error {
	text, err := os.ReadFile(key)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return errors.New("the key is not PEM")
	}
	signer, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return fmt.Errorf("the key cannot be read: %w", err)
	}
	validation := tesseract.ChainValidationConfig{RootsPEMFile: roots, ExtKeyUsages: "CodeSigning"}
	create := func(ctx context.Context, signer note.Signer) (*storage.CTStorage, error) {
		return openStorage(ctx, folder, signer)
	}
	options := tesseract.LogHandlerOpts{DedupRL: -1, MaxCertChainBytes: maxChainBytes}
	handler, err := tesseract.NewLogHandler(ctx, origin, signer, validation, create, deadline, false, "", options)
	if err != nil {
		return err
	}
	server := http.Server{Addr: listen, Handler: handler, ReadHeaderTimeout: deadline}
	return server.ListenAndServe()
}

func openStorage(ctx context.Context, folder string, signer note.Signer) (*storage.CTStorage, error) {
	driver, err := posix.New(ctx, posix.Config{Path: folder})
	if err != nil {
		return nil, err
	}
	appending := tessera.NewAppendOptions().
		WithCheckpointSigner(signer).
		WithCTLayout().
		WithCheckpointInterval(checkpointInterval)
	appender, _, reader, err := tessera.NewAppender(ctx, driver, appending)
	if err != nil {
		return nil, err
	}
	issuers, err := ctposix.NewIssuerStorage(ctx, folder)
	if err != nil {
		return nil, err
	}
	return storage.NewCTStorage(ctx, &storage.CTStorageOptions{
		Appender: appender, Reader: reader, IssuerStorage: issuers, EnablePubAwaiter: true,
	})
}
