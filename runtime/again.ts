/**
 * Makes a request for work that is done one at a time: at once, or once more after the work under way, however often it is
 * asked for meanwhile.
 *
 * @param work never rejects
 */
export function again(work: () => Promise<void>): () => void {
  let isRunning = false;
  let isWanted = false;
  return function request() {
    if (isRunning) {
      isWanted = true;
      return;
    }
    isRunning = true;
    void work().finally(() => {
      isRunning = false;
      if (!isWanted) return;
      isWanted = false;
      request();
    });
  };
}
